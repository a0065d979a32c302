# The same version as the npm package `node`, which runs everything outside of containers.
ARG NODE_VERSION=24.21.0

FROM node:${NODE_VERSION}-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The only install script among them is that of the npm package `node`, which fetches the runtime that this image has
# already: leaving scripts out saves 120 MB and runs no code of others. Types and source maps are for development.
RUN npm ci --omit=dev --ignore-scripts \
  && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete

FROM node:${NODE_VERSION}-bookworm-slim
# The embedded database, where no DATABASE_URL is given: mount a volume there to keep it.
RUN install -d -o 1000 -g 1000 /data
ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY LICENSE package.json ./
COPY migrations migrations
COPY simulator simulator
COPY src src
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llm-gateway" \
  org.opencontainers.image.description="OpenAI-compatible REST and GraphQL in front of a fleet of Ollama servers" \
  org.opencontainers.image.version="0.1.0" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.licenses="Apache-2.0"
# The user `node` of the base image, who owns none of these files. Kubernetes can see from a number that it is not root.
USER 1000:1000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["node", "src/cli/health.ts"]
# Not through npm, which would stand between the process and its SIGTERM. The flags are those of `npm start`: less memory
# for young objects than Node gives them by itself, and no guesses at which of them will grow old (docs/performance.md).
CMD ["node", "--max-semi-space-size=32", "--no-allocation-site-pretenuring", "src/main.ts"]
