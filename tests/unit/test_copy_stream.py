"""COPY blocks in a dump's text: found, counted and cut off where they end, in pieces of any size."""

from __future__ import annotations

import io
import tempfile
import tracemalloc

import pytest
from ansible.module_utils.runbook.backup import copy_stream
from ansible.module_utils.runbook.backup.copy_stream import CutShortError, copy_blocks, parse_header
from ansible.module_utils.runbook.errors import RunbookError

DUMP = rb"""--
-- PostgreSQL database dump
--
CREATE FUNCTION public.load() RETURNS void AS $$
COPY public.orders (id) FROM stdin;
1
\.
$$;

--
-- Data for Name: orders; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.orders (id, note) FROM stdin;
1	COPY public.orders (id) FROM stdin;
2	-- Data for Name: x; Type: TABLE DATA; Schema: y; Owner: z
3	\\.
\.


--
-- Data for Name: Odd; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public."Odd ""Name" ("a, b", c) FROM stdin;
\.


--
-- Data for Name: last; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.last (id) FROM stdin;
x
\.

-- PostgreSQL database dump complete
"""


@pytest.mark.parametrize("size", [1, 20, 100, 1 << 18])
@pytest.mark.parametrize("skipped", [1, 2, 3, 4, 5, 7, 50, 1 << 20])
def test_each_tables_rows_are_counted(monkeypatch: pytest.MonkeyPatch, size: int, skipped: int) -> None:
    monkeypatch.setattr(copy_stream, "CHUNK_BYTES", size)
    monkeypatch.setattr(copy_stream, "SKIP_BYTES", skipped)
    found = {block.header.table: (block.header.columns, block.skip()) for block in copy_blocks(io.BytesIO(DUMP))}
    assert found == {
        "public.orders": (("id", "note"), 3),
        'public.Odd "Name': (("a, b", "c"), 0),
        "public.last": (("id",), 1),
    }


@pytest.mark.parametrize("size", [1, 1 << 18])
def test_the_rows_are_what_stands_between_header_and_end(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(copy_stream, "CHUNK_BYTES", size)
    block = next(copy_blocks(io.BytesIO(DUMP)))
    rows = b"".join(iter(block.read, b""))
    assert rows.startswith(b"1\tCOPY")
    assert rows.endswith(b"3\t\\\\.\n")


def test_blocks_that_nobody_reads_are_skipped() -> None:
    assert len(list(copy_blocks(io.BytesIO(DUMP)))) == 3


@pytest.mark.parametrize("end", [b"\\.\n", b"3\t", b"1\tCOPY public.orders (id) FROM stdin;\n"])
def test_a_dump_that_ends_early_is_noticed(end: bytes) -> None:
    start = DUMP.index(b"-- Data for Name: orders")
    with pytest.raises(CutShortError, match=r"ends in the middle of public\.orders, after row \d"):
        list(copy_blocks(io.BytesIO(DUMP[start : DUMP.index(end, start)])))


def test_a_row_of_any_length_is_skipped_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy_stream, "CHUNK_BYTES", 1)  # the header is read, and nothing of the row
    start, end = DUMP.index(b"1\tCOPY"), DUMP.index(b"2\t-- Data")
    row = 32 * copy_stream.SKIP_BYTES
    with tempfile.TemporaryFile() as file:
        file.write(DUMP[:start] + b"1\t")
        for _ in range(32):
            file.write(b"x" * (row // 32))
        file.write(b"\n" + DUMP[end:])
        file.seek(0)
        tracemalloc.start()
        try:
            assert next(copy_blocks(file)).skip() == 3
            assert tracemalloc.get_traced_memory()[1] < row / 2
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("skipped", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_row_that_begins_as_the_end_mark_does_is_a_row(monkeypatch: pytest.MonkeyPatch, skipped: int) -> None:
    monkeypatch.setattr(copy_stream, "SKIP_BYTES", skipped)
    monkeypatch.setattr(copy_stream, "CHUNK_BYTES", 1)
    text = DUMP.replace(b"x\n", b"\\.x\n\\\\.\n\\N\nx\\.\n\n")
    assert [block.skip() for block in copy_blocks(io.BytesIO(text))] == [3, 0, 5]


def test_rows_as_statements_are_not_rows_to_copy() -> None:
    with pytest.raises(RunbookError, match="this line does not start the rows of a table: INSERT INTO"):
        parse_header(b"INSERT INTO public.orders VALUES (1);\n")
    assert parse_header(b"COPY public.empty  FROM stdin;\n").columns == ()
