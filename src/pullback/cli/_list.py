"""`pullback list`: the recipes, their papers and the data that each takes."""

from pullback import recipes


def list_recipes() -> int:
    """Show the recipes: name, paper, what is done, and the data that each takes."""
    width = max(map(len, recipes.papers())) + 2
    for name, paper in recipes.papers().items():
        lines = [paper.summary]
        for part, of in paper.data.items():
            data = "" if of == recipes.SIMULATED else f" --data DIR: on {of}"
            lines.append(f"{name}/{part}{data}")
        if paper.task is not None:
            lines.append(f"with a file of your own: pullback {paper.task}")
        print(f"{name:{width}}{paper.title} (arXiv {paper.arxiv})")
        print(*(f"{'':{width}}{line}" for line in lines), sep="\n")
    return 0
