from actonce.bench.growth import Naive, line, run_growth


def test_every_figure_is_measured_in_one_run() -> None:
    found = run_growth(100)
    assert found.tasks == 100
    assert len(found.rows) == 20
    assert found.rows[-1].remembered == 100
    assert min(found.document_bytes, found.journal_bytes, found.naive_document_bytes) > 0


def test_the_naive_layout_never_shrinks() -> None:
    naive = Naive()
    sizes = []
    for number in range(1, 601):
        naive.task(number)
        if number % 200 == 0:
            sizes.append(naive.bytes)
    assert sizes[2] - sizes[1] > 0.9 * (sizes[1] - sizes[0]) > 1_000


def test_the_slope_of_a_line_and_its_error() -> None:
    assert line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0]) == (2.0, 0.0)
    slope, error = line([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 1.0])
    assert 0 < slope < 2 * error
    assert line([1.0], [1.0]) == (0.0, 0.0)
