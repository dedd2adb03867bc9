"""Training recipes. A recipe is a function without arguments that returns a `Recipe`; its name is the function's."""
