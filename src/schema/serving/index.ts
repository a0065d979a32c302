import type { IncomingMessage, RequestListener } from 'node:http';
import type { Duplex } from 'node:stream';
import type { GraphQLSchema } from 'graphql';
import type { Gateway } from '../../core/gateway.ts';
import type { Clock, Telemetry } from '../../core/ports.ts';
import type { CorsOrigins } from '../../http/cors.ts';
import type { SchemaGateway } from '../context.ts';
import { createHttpHandler } from './http.ts';
import { DEFAULT_LIMITS, jsonBounds, type ServingLimits } from './limits.ts';
import { createOperations } from './operation.ts';
import type { PersistedDocuments } from './persisted.ts';
import { createWebSocketHandler } from './ws.ts';

export interface GraphQLServerOptions {
  readonly gateway: SchemaGateway & Pick<Gateway, 'authenticate' | 'watch'>;
  readonly schema: GraphQLSchema;
  readonly config: GraphQLServerConfig;
  readonly telemetry: Pick<Telemetry, 'log'>;
  readonly clock: Clock;
}

export interface GraphQLServerConfig {
  /** Where it is mounted, e.g. `/graphql`: both for HTTP and for WebSocket. */
  readonly path: string;
  /** Keeps the schema to itself: no introspection, no suggestions, no GraphiQL. */
  readonly production: boolean;
  readonly corsOrigins: CorsOrigins;
  /** For a request over HTTP and for a message over WebSocket. */
  readonly maxBodyBytes: number;
  /** How many reverse proxies in front can be believed about where a connection comes from. */
  readonly trustedProxies: number;
  readonly persisted?: PersistedDocuments;
  /** A key that GraphiQL offers its visitors; only for one that is public anyway. */
  readonly exampleKey?: string;
  readonly limits?: {
    readonly [Part in keyof ServingLimits]?: ServingLimits[Part] extends number
      ? number
      : Partial<ServingLimits[Part]>;
  };
}

export interface GraphQLServer {
  readonly handler: RequestListener;
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /**
   * What has no end of its own ends. WebSockets take no new operations; each is closed with 1001 as soon as it has none.
   * HTTP is left to its server.
   */
  drain(): void;
  /** Cuts every WebSocket. */
  close(): void;
}

/** Serves a schema over HTTP, server-sent events and WebSocket, with the same checks and limits over all of them. */
export function createGraphQLServer(options: GraphQLServerOptions): GraphQLServer {
  const { gateway, schema, config, telemetry, clock } = options;
  const { path, production, corsOrigins, maxBodyBytes, exampleKey } = config;
  const limits: ServingLimits = {
    document: { ...DEFAULT_LIMITS.document, ...config.limits?.document },
    socket: { ...DEFAULT_LIMITS.socket, ...config.limits?.socket },
    stallMs: config.limits?.stallMs ?? DEFAULT_LIMITS.stallMs,
  };
  const persisted = config.persisted ?? { manifest: new Map(), only: false };
  const draining = new AbortController();
  const operations = createOperations({
    gateway,
    schema,
    limits,
    persisted,
    production,
    draining: draining.signal,
    telemetry,
    clock,
  });
  const sockets = createWebSocketHandler({
    gateway,
    operations,
    path,
    corsOrigins,
    trustedProxies: config.trustedProxies,
    maxMessageBytes: maxBodyBytes,
    messageBounds: jsonBounds(limits.document, 1),
    limits: limits.socket,
    draining: draining.signal,
    telemetry,
    clock,
  });
  const handler = createHttpHandler({
    gateway,
    schema,
    operations,
    path,
    production,
    corsOrigins,
    maxBodyBytes,
    ...(exampleKey !== undefined && { exampleKey }),
    limits,
    telemetry,
    clock,
  });
  return {
    handler,
    upgrade: sockets.upgrade,
    drain() {
      draining.abort();
      sockets.closeIdle();
    },
    close() {
      draining.abort();
      sockets.close();
    },
  };
}
