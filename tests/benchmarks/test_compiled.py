"""What is read off compiled programs, and the page that shows it."""

import functools
import time

import jax
import jax.numpy as jnp
import pandas as pd
import pytest

from benchmarks import records
from benchmarks.compiled import __main__ as command
from benchmarks.compiled import page
from benchmarks.compiled.compiler import kernel_figures, local_shape, read
from benchmarks.compiled.digest import (
    hlo_figures,
    launched,
    sass_instructions,
    scheduled_bundles,
)
from benchmarks.compiled.programs import (
    BITS,
    KERNEL,
    MAPPED,
    drops,
    family_programs,
    kernel_programs,
    lowered,
    programs,
)
from benchmarks.compiled.targets import environment, missing
from benchmarks.contestants import JDROP
from benchmarks.family import MEMBERS

HLO = """\
HloModule jit_function, is_scheduled=true

%fused (p.1: f32[64,128]) -> f32[128,64] {
  %p.1 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %r.1 = f32[8192]{0:T(1024)} reshape(%p.1)
  ROOT %t.1 = f32[128,64]{1,0:T(8,128)S(1)} transpose(%p.1), dimensions={1,0}
}

%body (p.2: (u32[], f32[8,128])) -> (u32[], f32[8,128]) {
  %p.2 = (u32[], f32[8,128]{1,0:T(8,128)}) parameter(0)
  ROOT %c.2 = (u32[], f32[8,128]{1,0:T(8,128)}) copy(%p.2)
}

ENTRY %main.3 (x: f32[64,128]) -> f32[64,128] {
  %x = f32[64,128]{1,0:T(8,128)} parameter(0)
  %r.3 = f32[8192]{0:T(1024)} reshape(%x)
  %v.3 = bf16[64,128]{1,0} convert(%x)
  %f.3 = f32[128,64]{1,0} fusion(%x), kind=kLoop, calls=%fused, \
backend_config={"estimated_cycles":"1200"}
  %w.3 = (u32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) while(%t), body=%body
  %a.3 = (f32[8]{0}, f32[32]{0}) all-gather-start(%b), dimensions={0}
  %s.3 = (f32[64,128]{1,0:S(1)}, f32[64,128]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %a.4 = f32[32]{0} all-gather-done(%a.3)
  %q.3 = f32[64,128]{1,0} custom-call(%y), custom_call_target="ConcatBitcast"
  %g.3 = (u64[2]{0}, u8[64]{0}) rng-bit-generator(%k), algorithm=rng_default
  ROOT %n.3 = f32[64,128]{1,0} negate(%x), backend_config={"estimated_cycles":"34"}
}
"""
THUNKS = """\
001: kCustomKernel [source       | next=002 (1)] loop_add_fusion grid: [1, 1, 1] \
threads: [32, 1, 1]  shared_memory: 0 bytes
002: kWhile [prev=001 (1) | sink        ] while.1
    003: kCustomKernel [source       | next=004 (1)] loop_or_fusion grid: [4, 2, 1] \
threads: [128, 1, 1]  shared_memory: 0 bytes
    004: kCopy [prev=003 (1) | sink        ] copy.5
005: kCustomKernel [prev=002 (1) | sink        ] loop_add_fusion grid: [1, 1, 1] \
threads: [32, 1, 1]  shared_memory: 0 bytes
"""
SASS = """\
	.headerflags	@"EF_CUDA_SM90"
loop_or_fusion:
.text.loop_or_fusion:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/               @P0 EXIT ;
        /*0020*/              @!P1 BRA `(.L_x_0) ;
.L_x_0:
        /*0030*/                   BRA `(.L_x_0);
        /*0040*/                   NOP;
.L_x_1:
"""
SCHEDULE = """\
Schedule analysis:
	total scheduled bundles:    120
	empty scheduled bundles:    3
	non empty scheduled bundles: 117
	120.00 scheduled bundles (100.00%): tpu_custom_call
"""


def test_hlo_is_counted_by_what_moves_and_by_where_it_stands():
    assert hlo_figures(HLO, 64 * 128) == {
        "cycles": 1234,
        "uncounted": 2,  # The loop and the generator.
        "whiles": 1,
        "collectives": 1,
        "copies": 3,  # The transpose in the fusion, and two passes outside.
    }
    assert hlo_figures(HLO, 8 * 128)["copies"] == 4


def test_threads_of_a_kernel_are_those_of_all_its_launches():
    threads = {"loop_add_fusion": 2 * 32, "loop_or_fusion": 8 * 128}
    assert launched(THUNKS) == (4, threads)


def test_instructions_are_told_from_labels_and_padding():
    assert sass_instructions(SASS) == 4


def test_bundles_of_a_schedule_are_those_of_its_total():
    assert scheduled_bundles(SCHEDULE) == 120
    for text in ("", 2 * SCHEDULE):
        with pytest.raises(ValueError, match="one number of scheduled bundles"):
            scheduled_bundles(text)


def test_bundles_are_those_of_each_kernel_at_each_step(tmp_path):
    end = "schedule-analysis_final_bundles.txt"
    texts = {
        f"1-jdrop-70-{end}": SCHEDULE,
        f"2-jdrop-70-{end}": SCHEDULE.replace("120", "30"),
        f"1-TLP-72-{end}": SCHEDULE,
        f"3-fusion-70-{end}": SCHEDULE.replace("tpu_custom_call", "fusion"),
        "1-jdrop-71-final_bundles.txt": SCHEDULE,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    # Three of 256 rows and two of 1024 columns, in each of the four of a batch.
    steps = 4 * 3 * 2
    shape = 4, 600, 1100
    found = kernel_figures(tmp_path, shape, 2)
    assert found == {"kernels": 2, "bundles": 150 * steps}
    with pytest.raises(ValueError, match="3 calls of 2 different kernels"):
        kernel_figures(tmp_path, shape, 3)
    (tmp_path / f"2-jdrop-70-{end}").unlink()
    found = kernel_figures(tmp_path, shape, 2)
    assert found == {"kernels": 2, "bundles": 2 * 120 * steps}


def test_the_kernel_is_compiled_where_jdrop_is():
    every = list(kernel_programs())
    own = [p._replace(contestant=JDROP) for p in every if p.contestant == KERNEL]
    assert set(own) < {p for p in programs() if p.contestant == JDROP}
    [mapped] = [p for p in every if p.contestant == MAPPED]
    assert local_shape(mapped, 4) == (2, 2048, 1024)


@pytest.mark.slow
def test_in_shard_map_each_device_draws_its_part():
    [mapped] = [p for p in kernel_programs() if p.contestant == MAPPED]
    small = mapped._replace(shape=(4, 32, 8))
    arrays = jax.random.key_data(jax.random.key(3)), jnp.ones(small.shape)
    results = []
    for program in (small, small._replace(contestant=KERNEL)):
        drop = drops()["", program.contestant]
        compiled = lowered(program, drop, jax.devices()[:4]).compile()
        results.append(compiled(*jax.device_put(arrays, compiled.input_shardings[0])))
    assert jnp.array_equal(*results)


def test_a_process_is_told_whether_there_is_a_kernel():
    for part in ("dropout", "family"):
        assert environment(part, "dump") == {"JDROP_KERNEL": "off"}
    told = environment("kernel", "dump")
    assert told["JDROP_KERNEL"] == "on"
    assert "--xla_jf_dump_to=dump " in told["LIBTPU_INIT_ARGS"]


def test_every_case_computes_on_arrays_of_its_shape():
    every = list(programs())
    assert len({str(program) for program in every}) == len(every)
    whole = {p.case: p for p in every if p.contestant == JDROP and not p.cut}
    assert len(whole) == 7
    for own in whole.values():
        seen = []
        lowered(own, lambda key, x, rate: seen.append(x) or x, jax.devices())  # noqa: B023
        assert {(x.shape, x.dtype.name) for x in seen} == {(own.shape, own.dtype)}


def test_a_program_of_the_machine_at_hand_is_read():
    own = next(p for p in programs() if p.contestant == BITS)
    own = own._replace(shape=(64, 64))
    program = lowered(own, drops()["", BITS], jax.devices()).compile()
    found = read(program, 64 * 64)
    assert found["cycles"] == found["collectives"] == 0
    assert set(found) < set(page.COLUMNS)


def test_an_op_of_the_family_is_given_what_it_takes():
    every = [program for program in family_programs() if program.contestant == JDROP]
    assert {program.case for program in every} == set(MEMBERS)
    known = drops()
    for own in every:
        assert (own.case, JDROP) in known
        seen = []
        lowered(own, lambda key, *given: seen.append(given), jax.devices())  # noqa: B023
        [(*arrays, rate)] = seen
        make = functools.partial(jax.ShapeDtypeStruct, dtype=own.dtype)
        wanted = MEMBERS[own.case].arrays(make, own.shape)
        assert rate == 0.1
        assert jax.tree.map(jnp.shape, (*arrays,)) == jax.tree.map(jnp.shape, wanted)


def test_what_fails_is_a_row_and_the_next_is_compiled():
    calls = [({"cycles": 1},), ([1],), ({"cycles": 2},)]
    first, failure, last = command.each(dict, calls, 60, {})
    assert [first, last] == [{"cycles": 1}, {"cycles": 2}]
    assert failure == {"failure": "TypeError: " + failure["failure"][11:]}


def test_a_compiler_that_does_not_end_is_ended():
    [stuck] = command.each(time.sleep, [(60,)], 0.1, {})
    assert stuck == {"failure": "no answer within 0.1 s, or the compiler died"}


def test_absent_compilers_are_named(capsys):
    if not missing(["v5e"]):
        pytest.skip("libtpu is installed")
    with pytest.raises(SystemExit):
        command.main(["--only", "v5e"])
    assert "not installed: libtpu; nox -s compiled" in capsys.readouterr().err


def test_page_shows_what_the_results_say():
    text = page.PAGE.read_text()
    sources = records.read_sources(page.RESULTS)
    assert records.fill(text, page.tables(page.load(), sources)) == text


def test_ratios_are_to_the_floor_of_the_same_program(monkeypatch, tmp_path):
    rows = [
        {"contestant": "x * c", "cycles": 100, "temporaries": 8},
        {"contestant": "jdrop", "cycles": 150, "temporaries": 16, "rate": 0.1},
        {"contestant": "jdrop", "cycles": 10, "rate": 0.1, "dtype": "bfloat16"},
        {"contestant": "jdrop", "failure": "no", "rate": 0.5},
    ]
    keys = {"section": "v5e", "case": "forward", "shape": "8x8", "dtype": "float32"}
    frame = pd.DataFrame([keys | {"keys": "", "failure": ""} | row for row in rows])
    monkeypatch.setattr(page, "RESULTS", tmp_path / "compiled.csv")
    records.save(page.RESULTS, frame.reindex(columns=page.COLUMNS), {"v5e": {}})
    found = page.load()
    assert list(found.ratio.dropna()) == [1.0, 1.5]
    assert list(found.bits.dropna()) == [0.0, 1.0]
    assert list(found.failure) == ["", "", "", "no"]
