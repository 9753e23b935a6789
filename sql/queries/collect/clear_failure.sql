-- Purpose: a source-hour that was collected has not failed any more. Grain: source-hour.
delete from billing_core.failed_source_hours where source_key = %(source_key)s and hour = %(hour)s
