-- Purpose: notes that a source-hour failed, outside its transaction. Grain: source.
update billing_core.sources
set last_attempted_at = clock_timestamp(), last_error = %(error)s
where source_id = %(source_id)s
