# mergeometry on the CPU. Models come in and go out through /work, owned by whoever starts it:
#   docker build --tag mergeometry .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" mergeometry merge recipe.yaml --output merged
FROM python:3.13-slim AS build

WORKDIR /source
RUN python -m venv /opt/mergeometry
COPY constraints.txt ./
# The build of torch without CUDA, some gigabytes smaller: its version sorts above the one on PyPI.
RUN /opt/mergeometry/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/mergeometry/bin/pip install --no-cache-dir --constraint constraints.txt '.[adapt,data]'

FROM python:3.13-slim

COPY --from=build /opt/mergeometry /opt/mergeometry
# Without --user it runs as nobody. Whoever it runs as may keep what is fetched in /tmp, and not change the program.
ENV PATH=/opt/mergeometry/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
WORKDIR /work
ENTRYPOINT ["mergeometry"]
CMD ["--help"]
