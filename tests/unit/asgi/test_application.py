"""Finding applications."""

import sys

import pytest

from headgate.asgi.application import ApplicationError, ApplicationSpec, load_application


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


APP = "async def app(scope, receive, send):\n    pass\n"


def load(folder, target, **spec):
    return load_application(ApplicationSpec("shop", target, str(folder), **spec))


def test_found_in_its_folder(folder):
    write(folder, "shop_one.py", APP)
    assert load(folder, "shop_one:app").__name__ == "app"


def test_packages_and_attributes(folder):
    write(folder, "shop_pkg/__init__.py", "")
    write(folder, "shop_pkg/asgi.py", APP + "class Site:\n    inner = staticmethod(app)\n")
    assert load(folder, "shop_pkg.asgi:Site.inner").__name__ == "app"


def test_a_factory_is_called(folder):
    write(folder, "shop_two.py", APP + "def create():\n    return app\n")
    assert load(folder, "shop_two:create", factory=True).__name__ == "app"


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        (None, "shop_absent:app", "ModuleNotFoundError: No module named 'shop_absent'"),
        (APP, "shop_three:other", "AttributeError: module 'shop_three' has no attribute 'other'"),
        (
            "import shop_needs_this\n",
            "shop_three:app",
            "No module named 'shop_needs_this' (*/shop_three.py:1)",
        ),
        ("app = 1/0\n", "shop_three:app", "ZeroDivisionError: division by zero (*/shop_three.py:1)"),
        ("def x(:\n", "shop_three:app", "SyntaxError"),
        ("raise SystemExit(3)\n", "shop_three:app", "SystemExit: 3"),
        ("app = 5\n", "shop_three:app", "int, which nobody can call"),
        ("def app(scope):\n    pass\n", "shop_three:app", "ASGI 2"),
    ],
)
def test_what_goes_wrong_is_told_with_its_last_line(folder, text, target, words):
    if text is not None:
        write(folder, "shop_three.py", text)
    with pytest.raises(ApplicationError) as failed:
        load(folder, target)
    assert words.replace("*", folder.name) in str(failed.value)
    assert target in str(failed.value)
