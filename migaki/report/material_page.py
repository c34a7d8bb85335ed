def write_pages(out, given, change): pass
