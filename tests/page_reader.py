"""A page as a test wants it: read strictly, with its elements, tables and words at hand."""

from html.parser import HTMLParser

VOID = {"br", "img", "input", "link", "meta"}
SPACES = str.maketrans("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}", "  ")


class Page(HTMLParser):
    """Its elements in order, its tables as rows of texts; every tag must be closed in its turn."""

    def __init__(self, path):
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements, self.words, self.tables, self.style = [], "", [], ""
        self._open, self._cell = [], None
        self.feed(self.text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        assert len({name for name, _ in attributes}) == len(attributes)
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self._open  # in HTML itself the slash has no meaning
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            self.style += data
            return
        data = data.translate(SPACES)
        self.words += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += f" {data}" if "small" in self._open else data

    def all(self, tag):
        """Return the attributes of every element of a tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, *headers):
        """Return the rows of the one table whose last head row begins so."""
        for rows in self.tables:
            for i, row in enumerate(rows):
                if row[: len(headers)] == list(headers):
                    return rows[i + 1 :]
        raise AssertionError(f"no table begins with {headers}")
