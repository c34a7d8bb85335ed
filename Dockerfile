# migaki on a CPU. Build: docker build -t migaki .   Run: docker run --rm -v "$PWD:/work" migaki demo
FROM python:3.12-slim

RUN useradd --create-home migaki && mkdir /work && chown migaki /work
WORKDIR /opt/migaki
COPY pyproject.toml README.md LICENSE ./
COPY migaki ./migaki
# The CPU's PyTorch: the default one for Linux brings gigabytes of CUDA.
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir '.[export,parquet,tiff,video,web]'

USER migaki
WORKDIR /work
ENTRYPOINT ["migaki"]
CMD ["--help"]
