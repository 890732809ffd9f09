"""Delimited text (CSV, TSV and the tables of Darwin Core Archives): one strict reader and one table of header spellings.

`reading` reads a file as rows or as Arrow tables, `scanning` splits text into rows, `dialects` describes delimiter, quote and encoding,
`damage` counts the rows that cannot be read, `headers` maps the spellings of column names to fields, `content` and `members` open plain
and packed files, `text` is the gate through which values from outside become valid text.
"""
