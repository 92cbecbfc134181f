"""What several commands take: axes, an interpreter, folders, the arguments of torch.nn.Conv2d."""

from __future__ import annotations

import signal
import sys
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from harness.core.errors import StorageError, UsageError
from harness.core.problem import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.shell_completion import CompletionItem

    from harness.core.case import Setting
    from harness.plan.axes import Value

Command = TypeVar("Command", bound="Callable[..., Any]")


class AxisOption(click.ParamType[tuple[str, tuple["Value", ...]]]):
    """`axis=values`."""

    name = "axis=values"

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> tuple[str, tuple[Value, ...]]:
        """As `axes.parse_override` reads it."""
        from harness.plan.axes import parse_override

        return value if isinstance(value, tuple) else parse_override(value)


def complete_suites(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str | CompletionItem]:
    from harness.plan.suite import shipped_suites

    return [path.stem for path in shipped_suites() if path.stem.startswith(text)]


def complete_runs(ctx: click.Context, _param: click.Parameter, text: str) -> list[str | CompletionItem]:
    folder = Path(ctx.params.get("results") or "results")
    return [path.parent.name for path in folder.glob("*/run.json") if path.parent.name.startswith(text)]


def install_signal_handlers() -> None:
    """SIGTERM, SIGINT and a terminal that is closed end a run as Ctrl-C does; SIGINT also where a shell in
    the background left it ignored, SIGHUP not where nohup did."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        numbers.append(hang_up)
    for number in numbers:
        signal.signal(number, signal.default_int_handler)


def write(out: Path, text: str) -> None:
    """Write a file that was named with --out, and the folders above it. Raises StorageError."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(out), hint="Name another file with --out."
        ) from None


def stated_store(store: str | None) -> str:
    """The store that a command needs. Raises UsageError where none is named."""
    if not store:
        raise UsageError(
            "no store is named", where="--store", hint="Give a folder or a URL, or set CONVSCOPE_STORE."
        )
    return store


def add_to_history(run: Path, store: str, *, anchor: str | None = None, joins: str | None = None) -> None:
    """Add a run that has just been measured. Raises StorageError and UsageError that say that it is kept."""
    from harness.tasks.history import add

    try:
        add(run, store=store, anchor=anchor, joins=joins)
    except (StorageError, UsageError) as error:
        hint = f"The run is kept in {run}. {error.hint}".strip()
        raise type(error)(error.what, where=error.where, hint=hint) from None
    print(f"Added to {store}.", file=sys.stderr)


def split_device(text: str) -> tuple[str, int | None]:
    """`cuda:1` as its type and index. Raises UsageError."""
    kind, colon, index = text.partition(":")
    if colon and not index.isdecimal():
        raise UsageError(f"{text!r} is no device", where="--device", hint="Write cpu, cuda or cuda:1.")
    return kind, int(index) if index else None


suite_argument = click.argument("suite", required=False, default="", shell_complete=complete_suites)
axes_option = click.option(
    "-a",
    "--axis",
    "axes",
    multiple=True,
    type=AxisOption(),
    help="Replace or narrow an axis: kind=depthwise,standard or in_channels=32:512:x2.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the answer, or the error, as JSON on stdout."
)
python_option = click.option(
    "--python",
    envvar="CONVSCOPE_PYTHON",
    metavar="PATH",
    help="Python interpreter to measure in; it needs only torch.",
)


class ResultsFolder(click.ParamType[Path]):
    """A folder of runs. That of a bucket is followed by one of this machine."""

    name = "PATH|URL"

    def convert(self, value: Any, _param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Raises StorageError."""
        from harness.store.buckets import as_folder

        if (folder := as_folder(str(value))) is not None:
            return folder
        from harness.store.mirrors import results_folder  # it needs pyarrow

        return results_folder(value, look=not (ctx and ctx.resilient_parsing))  # a shell that completes waits


results_option = click.option(
    "--results",
    envvar="CONVSCOPE_RESULTS",
    default="results",
    show_default=True,
    type=ResultsFolder(),
    metavar="PATH|URL",
    help="Folder of the runs, or a bucket's.",
)
store_option = click.option(
    "--store",
    envvar="CONVSCOPE_STORE",
    metavar="PATH|URL",
    help="Folder or bucket of the history.  [default: CONVSCOPE_STORE]",
)
add_to_option = click.option("--store", metavar="PATH|URL", help="Add the run to this history.")
wait_option = click.option(
    "--wait/--no-wait",
    default=True,
    help="Wait while another run uses the device, or fail at once.  [default: wait]",
)
time_limit_option = click.option(
    "--time-limit",
    "time_limit_s",
    type=float,
    metavar="SECONDS",
    help="Stop after this many seconds; finished measurements are kept.",
)
resume_option = click.option(
    "--resume", metavar="RUN", shell_complete=complete_runs, help="Go on with a run that was cut short."
)
quick_option = click.option(
    "--quick", is_flag=True, help="Measure one round only: a rough first look, marked in every output."
)
on_option = click.option(
    "--on",
    metavar="ADDRESS",
    help="Measure on every device of a Ray cluster: ray://HOST:10001, HOST:6379, auto, or local (this "
    "machine). Needs convscope[ray].",
)
each_option = click.option(
    "--each", is_flag=True, help="With --on: every device measures all cases, alike or not."
)
kind_argument = click.argument(
    "kind",
    metavar="KIND",
    shell_complete=lambda _c, _p, text: [kind for kind in KINDS if kind.startswith(text)],
)


def require_alone(option: str, *others: object) -> None:
    """Raises UsageError where what a kept run already states is given beside it."""
    if any(others):
        raise UsageError(
            "goes on with a run as it was asked for",
            where=option,
            hint="Leave the suite and its options out.",
        )


class Measuring(TypedDict):
    """How a command measures and where it keeps what it measured, as `tasks.sweep` takes it."""

    python: str | None
    results: Path
    quick: bool
    wait: bool
    time_limit_s: float | None


def anchor_options(command: Command) -> Command:
    """What the sides of an A/B are called in history."""
    options = {
        "anchor": click.option(
            "--anchor",
            metavar="NAME",
            help="Name of the base, to which history follows the ratio.  [default: its torch and changes]",
        ),
        "joins": click.option(
            "--joins", metavar="NAME", help="The head becomes the anchor of this name: join it to the base."
        ),
    }
    return _decorated(options, ())(command)


def measuring_options(*left_out: str) -> Callable[[Command], Command]:
    """What `Measuring` holds; without the options left out."""
    options = {
        "python": python_option,
        "results": results_option,
        "quick": quick_option,
        "wait": wait_option,
        "time_limit_s": time_limit_option,
    }
    return _decorated(options, left_out)


def problem_options(*left_out: str) -> Callable[[Command], Command]:
    """The arguments of torch.nn.Conv2d, and the shape of the input; without those left out."""
    options = {
        "in_channels": click.option(
            "--in-channels", "--in", "in_channels", type=int, default=64, show_default=True
        ),
        "out_channels": click.option(
            "--out-channels", "--out", "out_channels", type=int, help="[default: as many as in]"
        ),
        "kernel_size": click.option(
            "--kernel-size",
            "--kernel",
            "kernel_size",
            help="3, or 3x5 for height x width.  [default: 3; pointwise 1]",
        ),
        "stride": click.option("--stride", default="1", show_default=True),
        "padding": click.option(
            "--padding",
            help="1, 3x5 for height x width, 0+1 for before and after, or same (strided as TensorFlow's).  "
            "[default: dilation * (kernel - 1) / 2; torch's own is 0]",
        ),
        "dilation": click.option("--dilation", default="1", show_default=True),
        "groups": click.option(
            "--groups", type=int, help="Required for grouped.  [default: set by the kind]"
        ),
        "bias": click.option("--bias", is_flag=True),
        "batch": click.option("--batch", type=int, default=1, show_default=True),
        "size": click.option(
            "--size", type=int, default=56, show_default=True, help="Height and width of the input."
        ),
        "height": click.option("--height", type=int, help="[default: size]"),
        "width": click.option("--width", type=int, help="[default: size]"),
    }
    return _decorated(options, left_out)


def setting_of(arguments: Mapping[str, Any]) -> Setting:
    """The setting that options state; where it is placed is not part of it."""
    from harness.core.case import DEFAULTS, Setting

    stated = {name: arguments[name] for name in DEFAULTS if name in arguments}
    return Setting(**stated | {"device": split_device(arguments["device"])[0]})


def setting_options(*left_out: str) -> Callable[[Command], Command]:
    """How the problem is executed; without the options left out."""
    options = {
        "device": click.option(
            "--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, xpu, ..."
        ),
        "dtype": click.option("--dtype", default="float32", show_default=True),
        "memory_format": click.option(
            "--memory-format", default="contiguous", show_default=True, help="contiguous or channels_last."
        ),
        "threads": click.option(
            "--threads", default="all", show_default=True, help="A number, or all processors."
        ),
        "computation": click.option(
            "--computation", default="inference", show_default=True, help="inference, forward or training."
        ),
        "mode": click.option(
            "--mode", default="eager", show_default=True, help="eager, compile or cuda_graph."
        ),
        "cache": click.option(
            "--cache",
            default="hot",
            show_default=True,
            help="hot, or rotating over copies larger than the last-level cache.",
        ),
        "fp32_precision": click.option(
            "--fp32-precision", default="ieee", show_default=True, help="ieee, tf32 or bf16."
        ),
        "autotune": click.option(
            "--autotune", is_flag=True, help="Enable cuDNN autotuning (cudnn.benchmark)."
        ),
        "implementation": click.option(
            "--implementation",
            default="torch",
            show_default=True,
            help="torch, native, linear, unfold, onnxruntime, openvino, or module:attribute.",
        ),
        "allocator": click.option(
            "--allocator",
            default="retained",
            show_default=True,
            help="retained keeps freed memory; default uses glibc malloc as shipped.",
        ),
    }
    return _decorated(options, left_out)


def _decorated(
    options: dict[str, Callable[[Command], Command]], left_out: tuple[str, ...]
) -> Callable[[Command], Command]:
    kept = [option for name, option in options.items() if name not in left_out]
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(kept), command)
