/** The serving of GraphQL alone: a small schema over a scripted gateway, on a free port. */
import {
  buildSchema,
  GraphQLError,
  type GraphQLFieldResolver,
  GraphQLObjectType,
  type GraphQLSchema,
} from 'graphql';
import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { systemClock } from '../../src/clock.ts';
import type { LogFields } from '../../src/core/ports.ts';
import type { Abortable } from '../../src/core/signal.ts';
import { type Cancellable, cancellable } from '../../src/core/stream.ts';
import { GatewayError } from '../../src/domain/error.ts';
import type { Principal } from '../../src/domain/principal.ts';
import type { GraphQLContext, SchemaGateway } from '../../src/schema/context.ts';
import { encodeGraphQLError } from '../../src/schema/errors.ts';
import { createEventStream } from '../../src/schema/event-stream.ts';
import {
  createGraphQLServer,
  type GraphQLServer,
  type GraphQLServerConfig,
  type GraphQLServerOptions,
} from '../../src/schema/serving/index.ts';
import { createServer, type Server } from '../../src/server.ts';

export const KEY = 'llmgw_graphqlserverkey0123456789';
export const OTHER_KEY = 'llmgw_otherkeyothergraphql012345';
export const BEARER = `Bearer ${KEY}`;

const SDL = /* GraphQL */ `
  type Query {
    hello(name: String): String
    "How often a resolver has run."
    executed: Int!
    users(first: Int = 5): Users
    numbers: [User!]!
    self: Query
    requestId: String
    keyName: String
    broken: String
    refused: String
    unserialisable: Int
    wait: String
  }
  type Users { edges: [Edge!]! }
  type Edge { node: User! }
  type User { id: Int, name: String, friend: User }
  input Nested { text: String, inner: Nested, mood: Mood }
  enum Mood { GLAD SAD }
  type Mutation {
    count: Int!
    take(input: Nested!): String
    wait: String
  }
  type Subscription {
    "Counts up to a number, and then ends."
    count(to: Int!): Int
    "Says what the test says, until one side has had enough."
    said: String
    breaks: String
    refuses: String
  }
`;

export interface GraphQLHarness {
  readonly url: string;
  readonly wsUrl: string;
  readonly port: number;
  readonly server: Server;
  readonly graphql: GraphQLServer;
  readonly logs: { readonly message: string; readonly fields: LogFields | undefined }[];
  readonly authorizations: (string | undefined)[];
  /** How many resolvers have run. */
  executed(): number;
  /** How many streams and waiting resolvers are under way. */
  running(): number;
  /** Makes every open `said` say something. */
  say(text: string): void;
  /** How much of what was said nobody has asked for yet. */
  unheard(): number;
  /** Changes the key, as an update would. */
  amend(change: Partial<Principal>): void;
  /** Ends the key, as a revocation would. */
  revoke(): void;
  /** How many watches of the key there are. */
  watching(): number;
  /** Makes the next authentication fail like this. */
  failAuthentication(error: Error): void;
  /** Keeps the next authentication from its end, until the function it returns is called. */
  holdAuthentication(): () => void;
  /** How many WebSockets there are. */
  sockets(): number;
  /** A POST with the key. */
  post(body: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>;
  get(
    parameters: Readonly<Record<string, string>>,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Response>;
  client(options?: Partial<Parameters<typeof createClient>[0]>): Client;
  close(): Promise<void>;
}

const PRINCIPAL: Principal = {
  keyId: 'key_graphql',
  name: 'graphql',
  scopes: ['chat', 'embeddings', 'models'],
  models: [],
  limits: { requestsPerMinute: 60 },
};

/** A gateway of which the tiny schema needs nothing but callers. */
function createCallers() {
  const authorizations: (string | undefined)[] = [];
  const watchers = new Set<{
    onInvalid: (error: GatewayError) => void;
    onSeen: (principal: Principal) => void;
  }>();
  let principal = PRINCIPAL;
  let failure: Error | undefined;
  let held: Promise<void> | undefined;
  return {
    authorizations,
    watching: () => watchers.size,
    fail(error: Error) {
      failure = error;
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
    amend(change: Partial<Principal>) {
      principal = { ...principal, ...change };
      for (const { onSeen } of [...watchers]) onSeen(principal);
    },
    revoke() {
      for (const { onInvalid } of [...watchers])
        onInvalid(new GatewayError('invalid_api_key', 'The API key is not valid.'));
    },
    async authenticate(authorization: string | undefined): Promise<Principal> {
      authorizations.push(authorization);
      const wait = held;
      held = undefined;
      await wait;
      const error = failure;
      failure = undefined;
      if (error) throw error;
      if (authorization === undefined) throw new GatewayError('missing_api_key', 'Send an API key.');
      if (authorization === BEARER) return principal;
      if (authorization === `Bearer ${OTHER_KEY}`) return { ...principal, keyId: 'key_other' };
      throw new GatewayError('invalid_api_key', 'The API key is not valid.');
    },
    watch(
      _principal: Principal,
      onInvalid: (error: GatewayError) => void,
      onSeen: (principal: Principal) => void = () => undefined,
    ) {
      const watcher = { onInvalid, onSeen };
      watchers.add(watcher);
      return () => void watchers.delete(watcher);
    },
  };
}

type Resolver = GraphQLFieldResolver<unknown, GraphQLContext>;

function createTinySchema() {
  const schema = buildSchema(SDL);
  const listeners = new Set<(text: string) => void>();
  let executed = 0;
  let running = 0;
  let unheard = 0;

  const untilAborted = (signal: Abortable): Promise<never> =>
    new Promise((_, reject) => {
      const abort = () => reject(signal.reason);
      if (signal.aborted) abort();
      else signal.addEventListener('abort', abort, { once: true });
    });
  const counted = async <T>(act: () => Promise<T>): Promise<T> => {
    running++;
    try {
      return await act();
    } finally {
      running--;
    }
  };
  const stream = <T>(
    context: GraphQLContext,
    source: (signal: Abortable) => AsyncIterable<readonly T[]>,
    name: string,
  ) => {
    const events: Cancellable<T> = cancellable(async function* (signal) {
      running++;
      try {
        yield* source(signal);
      } finally {
        running--;
      }
    }, context.signal);
    return createEventStream(events, {
      encode: (value: T) => ({ [name]: value }),
      fail: () => undefined,
      end: () => undefined,
    });
  };

  const attach = (
    type: string,
    resolvers: Readonly<Record<string, Resolver>>,
    kind: 'resolve' | 'subscribe',
  ) => {
    const parent = schema.getType(type);
    if (!(parent instanceof GraphQLObjectType)) throw new Error(`no type ${type}`);
    for (const [name, resolver] of Object.entries(resolvers)) {
      const field = parent.getFields()[name];
      if (!field) throw new Error(`no field ${name}`);
      field[kind] = (parent_, args, context, info) => {
        executed++;
        return resolver(parent_, args, context, info);
      };
    }
  };
  attach(
    'Query',
    {
      hello: (_, { name }) => `Hello ${name ?? 'world'}`,
      executed: () => executed - 1,
      users: (_, { first }) => ({
        edges: Array.from({ length: first }, (_item, id) => ({ node: { id, name: `user ${id}` } })),
      }),
      numbers: () => [{ id: 1 }, { id: 2 }],
      self: () => ({}),
      requestId: (_, _args, context) => {
        context.rateLimit = { mode: 'exact', requests: { limit: 60, remaining: 59, resetMs: 1500 } };
        return context.requestId;
      },
      keyName: (_, _args, { principal }) => principal.name,
      broken: () => {
        throw new TypeError('a secret prompt was not a string');
      },
      refused: () => {
        throw encodeGraphQLError(new GatewayError('not_permitted', 'The key may not do this.'));
      },
      unserialisable: () => 'a secret prompt',
      wait: (_, _args, { signal }) => counted(() => untilAborted(signal)),
    },
    'resolve',
  );
  attach(
    'Mutation',
    {
      count: () => executed,
      take: (_, { input }) => input.text,
      wait: (_, _args, { signal }) => counted(() => untilAborted(signal)),
    },
    'resolve',
  );
  attach(
    'Subscription',
    {
      count: (_, { to }, context) =>
        stream(
          context,
          async function* () {
            for (let n = 1; n <= to; n++) yield [n];
          },
          'count',
        ),
      said: (_, _args, context) =>
        stream(
          context,
          async function* (signal) {
            const said: string[] = [];
            let wake = () => {};
            const listen = (text: string) => {
              said.push(text);
              unheard++;
              wake();
            };
            listeners.add(listen);
            try {
              for (;;) {
                unheard -= said.length;
                if (said.length > 0) yield said.splice(0);
                const news = new Promise<void>((resolve) => {
                  wake = resolve;
                });
                if (said.length === 0) await Promise.race([news, untilAborted(signal)]);
              }
            } finally {
              listeners.delete(listen);
              unheard -= said.length;
            }
          },
          'said',
        ),
      breaks: () => ({
        [Symbol.asyncIterator]: () => ({
          next: async () => {
            throw new TypeError('a secret prompt broke it');
          },
        }),
      }),
      refuses: () => ({
        [Symbol.asyncIterator]: () => ({
          next: async () => {
            throw new GraphQLError('Not here.', { extensions: { code: 'NOT_HERE', http: { status: 418 } } });
          },
        }),
      }),
    },
    'subscribe',
  );
  return {
    schema,
    executed: () => executed,
    running: () => running,
    unheard: () => unheard,
    say(text: string) {
      for (const listen of listeners) listen(text);
    },
  };
}

export async function startGraphQLServer(
  config: Partial<GraphQLServerConfig> = {},
  over: Partial<Pick<GraphQLServerOptions, 'clock'>> & {
    readonly schema?: GraphQLSchema;
    /** For a schema that needs more of the core than callers. */
    readonly gateway?: Partial<SchemaGateway>;
  } = {},
): Promise<GraphQLHarness> {
  const callers = createCallers();
  const tiny = createTinySchema();
  const logs: { message: string; fields: LogFields | undefined }[] = [];
  const unused = () => {
    throw new Error('the tiny schema does not use the core');
  };
  const graphql = createGraphQLServer({
    gateway: {
      authenticate: callers.authenticate,
      watch: callers.watch,
      chat: unused,
      embed: unused,
      listModels: unused,
      getModel: unused,
      listBackends: unused,
      limits: unused,
      get administration() {
        return unused();
      },
      ...over.gateway,
    },
    schema: over.schema ?? tiny.schema,
    config: {
      path: '/graphql',
      production: false,
      corsOrigins: '*',
      maxBodyBytes: 1_000_000,
      trustedProxies: 0,
      ...config,
    },
    telemetry: { log: (_level, message, fields) => void logs.push({ message, fields }) },
    clock: over.clock ?? systemClock,
  });
  let sockets = 0;
  const server = createServer({
    handlers: [{ path: '/graphql', handler: graphql.handler }],
    fallback: (_req, res) => res.writeHead(404).end(),
    upgrade(request, socket, head) {
      sockets++;
      socket.once('close', () => sockets--);
      graphql.upgrade(request, socket, head);
    },
    onDraining: graphql.drain,
    limits: { lingerMs: 0 },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  const url = `http://127.0.0.1:${port}/graphql`;
  const wsUrl = `ws://127.0.0.1:${port}/graphql`;
  const clients: Client[] = [];
  return {
    url,
    wsUrl,
    port,
    server,
    graphql,
    logs,
    authorizations: callers.authorizations,
    executed: tiny.executed,
    running: tiny.running,
    say: tiny.say,
    unheard: tiny.unheard,
    amend: callers.amend,
    revoke: callers.revoke,
    watching: callers.watching,
    failAuthentication: callers.fail,
    holdAuthentication: callers.hold,
    sockets: () => sockets,
    post: (body, headers) =>
      fetch(url, {
        method: 'POST',
        headers: { authorization: BEARER, 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    get: (parameters, headers) =>
      fetch(`${url}?${new URLSearchParams(parameters)}`, { headers: { authorization: BEARER, ...headers } }),
    client(options) {
      const client = createClient({
        url: wsUrl,
        webSocketImpl: WebSocket,
        connectionParams: { authorization: BEARER },
        retryAttempts: 0,
        ...options,
      });
      clients.push(client);
      return client;
    },
    async close() {
      for (const client of clients) await client.dispose();
      graphql.close();
      await server.close();
    },
  };
}
