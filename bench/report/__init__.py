"""What a `Report` says, for people: as a table, as pictures, as a page, beside another one."""
