"""Document the contents of a data snapshot for modules that take one."""

from __future__ import annotations

from textwrap import indent


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  counts:
    description: Counts to take.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the count.
        type: str
        required: true
      query:
        description: File with a query that returns one row with one column.
        type: path
        required: true
      after_migration:
        description: Relation of the count after the migration to the count now.
        type: str
        choices: [equal, at_least, at_most, any]
        default: any
      by_application:
        description:
          - File with a query that returns by how much the application's writes changed the count. It reads C(written),
            with one row for each row that the application wrote, and the columns C(table_name), C(key) (text),
            C(existed) (before) and C(old_values) (the kept columns, as jsonb).
        type: path
  samples:
    description: Samples to keep, at most 100 rows of each. They are shown, but not compared.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the sample.
        type: str
        required: true
      query:
        description: File with a query.
        type: path
        required: true
  fingerprints:
    description: Fingerprints to take, each of the rows of a table or of a query.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the fingerprint, and of the file with its row hashes.
        type: str
        required: true
      table:
        description: Table, as C(schema.table). All its columns are compared.
        type: str
      query:
        description: File with a query for the rows. All its columns are compared.
        type: path
      key:
        description: Column that identifies a row.
        type: str
        required: true
      after_migration:
        description:
          - Relation of the rows after the migration to those now.
          - V(at_least) forbids missing and changed rows, V(at_most) new and changed ones.
        type: str
        choices: [equal, at_least, at_most, any]
        default: equal
      by_application:
        description:
          - For a fingerprint with O(ignore:query), a file with a query for the keys of its rows that writes of the
            application may have changed. It reads C(written), like that of a count.
        type: path
"""

    #: As a suboption of a backup.
    WITH_BACKUP = """
options:
  snapshot:
    description: The data snapshot to take with the backup.
    type: dict
    suboptions:
      directory:
        description:
          - Directory of the data snapshot, which is created.
          - An existing one whose backup is missing is renamed to C(.superseded).
        type: path
        required: true
""" + indent(DOCUMENTATION.split("options:\n", 1)[1], "    ")
