"""How the documentation is built; `make docs` runs it with warnings as errors."""

import importlib.metadata

project = "Greenroom"
copyright = "2026, Greenroom contributors"
version = release = importlib.metadata.version("greenroom")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib_trio"]
exclude_patterns = ["_build", "news"]
html_theme = "furo"
html_title = "Greenroom"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# `Ref` in a docstring is a link to what is documented under that name, where there is one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Cancellation", "Checkpoint", "Source"]

# The inventories of other projects are not fetched: names from outside stay plain, and so do type
# variables, private names and modules. Other links into the documentation itself are checked.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!greenroom\.).*"),
    (r"py:.*", r"greenroom\.(.+\.)?_.*"),
    (r"py:.*", r"greenroom\..+\.[A-Z]\w*T(_co|_contra)?"),
    (r"py:obj", r"greenroom(\.[a-z_]+)+"),
    (r"py:class", r"greenroom\.runtime\.pipeline\.pipeline\.Parent"),  # said in words there
    (r"py:class", r"greenroom\.actors\.tools\.(tool\.[RS]|schema\.Arguments)"),
]
