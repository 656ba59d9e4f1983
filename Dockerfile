# A service for one model: docker build --build-arg MODEL=runs/fonts -t chars .
# --build-arg TORCH_INDEX=<address of PyTorch's CPU wheels> keeps several GB of CUDA libraries away: see README.md.
# It wants a store with a key in it: -e QUICKSTUDY_STORE=postgresql://hub@db/quickstudy, or a volume on /data.
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 hub && mkdir /data && chown hub /data
USER 1000
WORKDIR /home/hub
ENV PATH="/home/hub/venv/bin:$PATH" \
    QUICKSTUDY_STORE=/data/store.sqlite \
    PYTHONUNBUFFERED=1

COPY --chown=hub constraints.txt pyproject.toml README.md LICENSE THIRD_PARTY_NOTICES.md source/
COPY --chown=hub src source/src
ARG TORCH_INDEX=""
RUN python -m venv venv \
    && PIP_EXTRA_INDEX_URL="$TORCH_INDEX" \
        pip install --no-cache-dir --constraint source/constraints.txt "./source[postgres]"

ARG MODEL
COPY --chown=hub ${MODEL} model

VOLUME /data
EXPOSE 8008
HEALTHCHECK --interval=10s --timeout=3s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8008/health', timeout=2)"]
CMD ["quickstudy", "serve", "--model", "chars=/home/hub/model", "--host", "0.0.0.0", "--keep"]
