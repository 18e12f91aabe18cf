"""Other tools open a table of a trace as it is, and see the same rows and values."""

import csv
import io
import os
import pathlib
import subprocess

import duckdb
import pandas
import polars
import pyarrow.dataset
import pyarrow.parquet
import pytest

ROOT = pathlib.Path(__file__).parents[2]
SAMPLE = ROOT / "schemas" / "samples" / "v1"
TABLES = ["events", "checkpoints", "samples", "sites"]


def program(name: str, *arguments: str) -> str:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    command = [target / "debug" / name, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tidegauge(*arguments: str) -> str:
    return program("tidegauge", *arguments)


def query(sql: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tidegauge("query", str(SAMPLE), sql, "--format", "csv"))))


@pytest.mark.parametrize("table", TABLES)
def test_all_readers_count_the_same_rows(table: str) -> None:
    folder = SAMPLE / table
    expected = int(query(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])
    assert expected > 0
    sql = f"SELECT count(*) FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    assert duckdb.sql(sql).fetchall() == [(expected,)]
    assert pyarrow.dataset.dataset(folder, partitioning="hive").count_rows() == expected
    assert len(pandas.read_parquet(folder)) == expected
    assert polars.scan_parquet(folder).select(polars.len()).collect().item() == expected


def test_all_readers_see_the_same_values() -> None:
    folder = SAMPLE / "events"
    sql = "SELECT kind, COUNT(*) AS n, SUM(size_bytes) AS bytes FROM events GROUP BY kind ORDER BY kind"
    expected = [(row["kind"], int(row["n"]), int(row["bytes"] or 0)) for row in query(sql)]
    assert {kind for kind, _, _ in expected} == {"alloc", "free"}

    by_duckdb = duckdb.sql(
        f"SELECT kind, count(*), coalesce(sum(size_bytes), 0) FROM read_parquet('{folder}/**/*.parquet') "
        "GROUP BY kind ORDER BY kind"
    ).fetchall()
    assert [(kind, n, int(total)) for kind, n, total in by_duckdb] == expected

    frame = pandas.read_parquet(folder)
    by_pandas = frame.groupby("kind", observed=True)["size_bytes"].agg(["size", "sum"])
    assert [(kind, int(row["size"]), int(row["sum"])) for kind, row in by_pandas.iterrows()] == expected
    assert str(frame["time"].dtype) == "datetime64[ns, UTC]"

    lazy = polars.scan_parquet(folder)
    assert lazy.collect_schema()["time"] == polars.Datetime("ns", "UTC")
    assert lazy.collect_schema()["kind"] == polars.String
    by_polars = lazy.group_by("kind").agg(polars.len(), polars.col("size_bytes").sum()).sort("kind").collect()
    assert [(kind, n, total or 0) for kind, n, total in by_polars.rows()] == expected

    arrow = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
    assert {"rank", "process"} <= set(arrow.column_names)
    frees = arrow.filter(pyarrow.compute.equal(arrow["kind"], "free"))
    assert frees["size_bytes"].null_count == len(frees), "the size of a free is that of its alloc: unknown is null"


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A trace of three parts that were merged into one."""
    folder = tmp_path_factory.mktemp("merged")
    program("record-victim", str(folder / "run"), str(folder / "counts"), "1", "1000", "600000")
    parts = list((folder / "run" / "events").rglob("*.parquet"))
    program("merge-victim", str(folder / "run"), "1000")
    merged = list((folder / "run" / "events").rglob("*.parquet"))
    assert len(parts) >= 3 and len(merged) == 1 and pyarrow.parquet.ParquetFile(merged[0]).num_row_groups == len(parts)
    return folder / "run"


def test_all_readers_read_merged_parts(merged: pathlib.Path) -> None:
    folder = merged / "events"
    sql = f"SELECT count(*), sum(size_bytes), count(DISTINCT address) FROM read_parquet('{folder}/**/*.parquet')"
    # Event n allocates address n, of 16 + 8 n bytes; the program's own blocks are larger than the largest of these.
    count = 600_000
    sql += f" WHERE kind = 'alloc' AND size_bytes = 16 + 8 * address AND address < {count}"
    total = 16 * count + 4 * count * (count - 1)
    assert duckdb.sql(sql).fetchall() == [(count, total, count)]
    frames = [
        pyarrow.dataset.dataset(folder, partitioning="hive").to_table(columns=["seq", "address", "kind"]).to_pandas(),
        pandas.read_parquet(folder)[["seq", "address", "kind"]],
        polars.scan_parquet(folder).select("seq", "address", "kind").collect().to_pandas(),
    ]
    for frame in frames:
        assert frame["seq"].is_monotonic_increasing
        allocs = frame[(frame["kind"] == "alloc") & (frame["address"] < count)]
        assert (allocs["address"].to_numpy() == range(count)).all()


def test_seq_orders_the_rows() -> None:
    seqs = polars.read_parquet(SAMPLE / "events")["seq"]
    assert seqs.is_sorted() and seqs.n_unique() == len(seqs)
