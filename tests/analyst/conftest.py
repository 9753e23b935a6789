from database_logins import login
from pipeline.harness import line

__all__ = ["line", "login"]
