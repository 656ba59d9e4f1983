"""A small file in the form of MovieLens's, with other ratings in it."""

import io
import zipfile

FILMS = [(1, "Toy Story (1995)", "Adventure|Children"), (2, "Heat, The (1995)", "Crime"),
         (7, "Amélie (2001)", "(no genres listed)")]  # fmt: skip


def ratings(users=12):
    """Rows of a user, a film, a rating and a time."""
    return [
        (user, film, 0.5 + (user + film) % 9 / 2, 964_982_703 + 60 * user + film)
        for user in range(1, users + 1)
        for film, _, _ in FILMS
    ]


def tables():
    """Name to content of the entries."""
    rated = "".join(",".join(map(str, row)) + "\r\n" for row in ratings())
    films = "".join(f'{film},"{title}",{genres}\r\n' for film, title, genres in FILMS)
    return {
        "ratings.csv": "userId,movieId,rating,timestamp\r\n" + rated,
        "movies.csv": "movieId,title,genres\r\n" + films,
        "README.txt": "Summary",
    }


def packed(entries):
    """Bytes of a zip file, the same every time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(zipfile.ZipInfo(f"ml-latest-small/{name}"), text)
    return content.getvalue()
