"""Small numbers for texts that repeat, so that columns stay narrow."""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt


class Codes(dict[str, int]):
    """An append-only list of texts with the number of each, given when it is first asked for; 0 stands for none."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        super().__init__({"": 0})
        self.texts: list[str] = [""]
        self._places = np.empty(0, np.int64)
        self.number: Callable[[str], int] = self.__getitem__  # of a text, given to it now if it has none
        for text in known:
            self.number(text)

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self.texts)
        self.texts.append(text)
        return number

    def places(self) -> npt.NDArray[np.int64]:
        """Of each number the place of its text among all in alphabetical order."""
        if len(self._places) != len(self.texts):
            places = np.empty(len(self.texts), np.int64)
            places[sorted(range(len(places)), key=self.texts.__getitem__)] = np.arange(len(places))
            self._places = places
        return self._places

    def add(self, text: str | None) -> int:
        """The number of a text, given to it now if it has none; 0 of no text."""
        return self[text] if text else 0

    def find(self, text: str) -> int:
        """The number of a text, -1 if it has none."""
        return self.get(text, -1)
