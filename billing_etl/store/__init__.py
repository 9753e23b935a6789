"""Every read and write of the database; one transaction per use, SQL in files."""
