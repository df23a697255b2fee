"""The shape of the library: signatures, docstrings, and which file imports which."""

import ast
import inspect
import re
import types
from pathlib import Path

import pytest
from cases import CASES

import jdrop
import jdrop.linen
import jdrop.nnx

ROOT = Path(__file__).parents[2]
FUNCTIONS = [
    function
    for name in jdrop.__all__
    if isinstance(function := getattr(jdrop, name), types.FunctionType)
]
CLASSES = [
    getattr(module, name)
    for module in (jdrop.linen, jdrop.nnx)
    for name in module.__all__
]

each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
each_class = pytest.mark.parametrize(
    "cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}"
)


# Modules of ops that are no row of the table, because they take or return other than x.
APART = {"DropConnect", "TokenDropout"}
# Functions that draw nothing.
KEYLESS = (jdrop.apply_mask, jdrop.concrete_regulariser, jdrop.drop_path_rates)


def test_all_is_all():
    public = {
        name
        for name, value in vars(jdrop).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(jdrop.__all__)
    for name in public:
        assert f"`{name}`" in jdrop.__doc__
    modules = {case.module for case in CASES} | APART
    assert jdrop.linen.__all__ == jdrop.nnx.__all__ == sorted(modules)


@each_function
def test_key_comes_first_and_options_by_name(function):
    parameters = list(inspect.signature(function).parameters.values())
    names = [parameter.name for parameter in parameters]
    for parameter in parameters:
        if parameter.kind == parameter.KEYWORD_ONLY:
            # Scales that no default would suit are options without one.
            named = function is jdrop.concrete_regulariser
            assert named or parameter.default is not parameter.empty
        else:
            assert parameter.default is parameter.empty
        assert parameter.annotation is not parameter.empty
    if function is jdrop.mc_predict:
        assert names[:2] == ["apply", "key"]
    elif function not in KEYLESS:
        assert names[0] == "key"
        assert parameters[0].kind == parameters[0].POSITIONAL_OR_KEYWORD
    for name in {"deterministic", "broadcast_dims", "offset"} & set(names):
        assert parameters[names.index(name)].kind == inspect.Parameter.KEYWORD_ONLY


def test_every_op_takes_the_same():
    for case in CASES:
        required, options = [], []
        for name, parameter in inspect.signature(case.op).parameters.items():
            is_option = parameter.kind == parameter.KEYWORD_ONLY
            (options if is_option else required).append(name)
        assert required[0] == "key" and required[1] in ("x", "weights")
        assert required[-1] == ("rate" if case.drops else "stddev")
        assert {"deterministic", "offset"} <= set(options)
        assert options[-1] == "offset"


SECTIONS = ("Args", "Returns", "Raises", "References", "Examples")


@each_function
def test_docstring_says_everything(function):
    text = inspect.getdoc(function)
    assert [s for s in SECTIONS if f"\n{s}:\n" in text] == list(SECTIONS)
    arguments = text.split("\nArgs:\n")[1].split("\nReturns:")[0]
    documented = re.findall(r"^  \*?(\w+): ", arguments, re.MULTILINE)
    assert documented == list(inspect.signature(function).parameters)
    assert "\n  >>> " in text.split("\nExamples:\n")[1]
    if function is not jdrop.key_for:
        equation = text.split("\n\n")[1]
        assert re.match(r"[\w']+(\[[il]\])? = ", equation), equation


@each_class
def test_module_refers_to_its_function(cls):
    text = inspect.getdoc(cls)
    assert text.startswith(f"`jdrop.{cls._function.__name__}` as a module: ")
    [base] = cls.__bases__
    for section in ("Args", "Returns", "Raises"):
        assert f"\n{section}:\n" in inspect.getdoc(base.__call__)


@each_class
def test_module_documents_what_it_is_made_of(cls):
    parameters = set(inspect.signature(cls.__init__).parameters)
    text = inspect.getmodule(cls).__doc__ + inspect.getdoc(cls._function)
    documented = set(re.findall(r"^\W*(\w+)`?: ", text, re.MULTILINE))
    assert parameters - {"self", "parent", "name"} <= documented


def imports(path):
    """The modules that a file imports, dotted, and what it takes from each."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                yield f"{node.module}.{name.name}"


# A file imports from the rows above its own; what is in one row stays apart.
LAYERS = [
    {"_arguments", "_calls", "_sharding", "_jet"},
    {"_axes", "_gamma"},
    {"_stream"},
    {"_draw", "_unpack", "_keys"},
    {"_window", "_kernel", "_select"},
    {"_part"},
    {"_fused"},
    {"_mask"},
    {"_noise", "_op", "_blockwise"},
    {"_ops", "_predict"},
    {"_flax"},
    {"linen", "nnx", "pallas", "__init__"},
    {"selfcheck"},
    {"__main__"},
]


def layer(name):
    [index] = [i for i, names in enumerate(LAYERS) if name in names]
    return index


LIBRARY = sorted((ROOT / "jdrop").rglob("*.py"))


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = path.relative_to(ROOT / "jdrop").with_suffix("").parts
    for imported in imports(path):
        package, *rest = imported.split(".")
        if package != "jdrop":
            continue
        # From the package itself comes a file of it, or one of its public names.
        name = rest[0] if rest else "__init__"
        name = "__init__" if name in jdrop.__all__ or name == "__version__" else name
        if name == own[0] == "selfcheck":
            continue
        assert layer(name) < layer(own[0]), f"{path.name} imports {imported}"


PYTHON = [
    path
    for folder in ("jdrop", "tests", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def private_uses(path):
    """What a file takes that another package calls private."""
    foreign = [name for name in imports(path) if not name.startswith("jdrop.")]
    for name in foreign:
        if any(re.match(r"_[^_]", part) for part in name.split(".")):
            yield name
    modules = {name.split(".")[0] for name in foreign} | {"jnp", "np", "nn"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in modules:
                yield ast.unparse(node)


def test_nothing_private_of_another_package():
    own = {path.stem for path in PYTHON}
    used = [(path.name, use) for path in PYTHON for use in private_uses(path)]
    assert not [(name, use) for name, use in used if use.split(".")[0] not in own]


def test_tests_that_comments_name_are_there():
    """The library says which test guards what would look needless."""
    sources = {path: path.read_text("utf-8") for path in PYTHON}
    tests = set(re.findall(r"def (test_\w+)", "\n".join(sources.values())))
    for path in LIBRARY:
        assert set(re.findall(r"\btest_\w+", sources[path])) <= tests, path.name
