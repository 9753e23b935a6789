from pipeline.harness import line

__all__ = ["line"]
