# migaki on a CPU. Build: docker build -t migaki .   Run: docker run --rm -v "$PWD:/data" migaki demo
FROM python:3.12-slim

RUN useradd --create-home migaki && mkdir /data && chown migaki /data
WORKDIR /opt/migaki
COPY pyproject.toml README.md LICENSE ./
COPY migaki ./migaki
RUN pip install --no-cache-dir '.[export,parquet,tiff,video,web]'

USER migaki
WORKDIR /data
ENTRYPOINT ["migaki"]
CMD ["--help"]
