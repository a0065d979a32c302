import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis';

/** To a server or to a cluster: both take the same commands and say alike when they are ready. */
export type Connection = GatheringRedis | GatheringCluster;

/** The shape of replies is the library's default, and its types want it left out. */
type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>;

const retryAfterMs = (attempt: number) => Math.min(50 * attempt, 1000);

/**
 * No command waits for a connection, and none is sent twice: a command whose answer did not come may have been carried
 * out, so whether to repeat it is for whoever sent it to know. A connection that is silent although an answer is due is
 * given up, as a frozen or unreachable server never closes it.
 */
const OPTIONS: ConnectionOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 1000,
  disconnectTimeout: 100,
  socketTimeout: 1000,
  maxLoadingRetryTime: 500,
  retryStrategy: retryAfterMs,
};

/** The same for a cluster, where only a command that a node refuses, because another has its key, is sent again. */
const CLUSTER_OPTIONS: ClusterOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  retryDelayOnFailover: 0,
  retryDelayOnClusterDown: 0,
  // A slot on its way to another node refuses scripts for a while. Soon to hear of it is better than to be kept waiting.
  retryDelayOnTryAgain: 10,
  maxRedirections: 4,
  clusterRetryStrategy: retryAfterMs,
  // Names are resolved where a connection is made, as TLS wants to know whose certificate to expect.
  dnsLookup: (host, found) => found(null, host),
};

/**
 * A connection that comes back by itself, for as long as it is not disconnected.
 * @param url as `REDIS_URL`: of a server, or those of some nodes of a cluster.
 * @param onError hears of every failure to connect, which are many during an outage.
 */
export function connect(url: string, onError: (error: Error) => void): Connection {
  const nodes = clusterNodes(url);
  if (!nodes) {
    return open(new GatheringRedis(url, { ...OPTIONS, reconnectOnError: createReplicaLeaver() }), onError);
  }
  const cluster = open(createCluster(nodes), () => undefined);
  // What its own errors say is that nodes had some.
  return cluster.on('node error', onError);
}

/** Where the address leads to nothing but a replica, connecting again more often than this would only cost. */
const LEAVE_REPLICA_EVERY_MS = 1000;

/**
 * A server that has become a read-only replica keeps its connections, while its address may lead to its successor
 * already. Nodes of a cluster name theirs instead.
 * @returns whether to connect again, for each error that a server answers with. No command is sent twice.
 */
function createReplicaLeaver(): (error: Error) => boolean {
  let leftAt = Number.NEGATIVE_INFINITY;
  return ({ message }) => {
    const leaves = message.startsWith('READONLY') && performance.now() - leftAt >= LEAVE_REPLICA_EVERY_MS;
    if (leaves) leftAt = performance.now();
    return leaves;
  };
}

/**
 * A connection for messages, which any node of a cluster passes on to all others. When one goes away, the next is tried.
 */
export function connectForMessages(url: string): Redis {
  const nodes = clusterNodes(url);
  if (!nodes) return open(new Redis(url, OPTIONS), () => undefined);
  const redis = new Redis({
    ...OPTIONS,
    ...credentialsOf(nodes[0]),
    ...addressOf(nodes[0]),
    retryStrategy(attempt) {
      Object.assign(redis.options, addressOf(nodes[attempt % nodes.length] ?? nodes[0]));
      return retryAfterMs(attempt);
    },
  });
  return open(redis, () => undefined);
}

/** What a connection is asked to do in one turn of the event loop. */
class Turn {
  /** Resolves when the turn is over, and its commands have been written. Absent while there are none. */
  over: Promise<void> | undefined;
  readonly #last: (() => void)[] = [];

  /** @param end called once all else is done. Not where the turn has begun already. */
  begin(end: () => void = () => undefined): void {
    this.over ??= new Promise((resolve) => {
      setImmediate(() => {
        for (const act of this.#last.splice(0)) act();
        this.over = undefined;
        end();
        resolve();
      });
    });
  }

  /** Does this at the end of the turn that has begun. */
  finallyDo(act: () => void): void {
    this.#last.push(act);
  }
}

type SentCommand = Parameters<Redis['sendCommand']>[0];

/** In place of the promise of a command that has its reply. */
const SETTLED = Promise.resolve();

/**
 * A server that is sent the commands of one turn of the event loop in one write: each write is a call of the system,
 * which costs as much as the rest of a command.
 */
class GatheringRedis extends Redis {
  readonly turn = new Turn();

  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    if (this.stream?.writable) this.beginTurn();
    const sent = super.sendCommand(...args);
    forgetContent(args[0]);
    return sent;
  }

  beginTurn(): void {
    if (this.turn.over !== undefined) return;
    const { stream } = this;
    stream?.cork();
    this.turn.begin(() => stream?.uncork());
  }
}

/**
 * Takes what was sent, and what came back, from a command once it has its reply. The library assigns a function to each
 * command (`this.reject = (error) => …`), and V8 makes functions that are assigned to properties among the old objects, as
 * most are methods: through it the command, and all that it holds, would be kept until the next full collection.
 */
function forgetContent(command: SentCommand): void {
  const forget = () => {
    command.args = [];
    command.promise = SETTLED;
  };
  command.promise.then(forget, forget);
}

/** The nodes of a cluster are sent each command in a write of its own. */
class GatheringCluster extends Cluster {
  readonly turn = new Turn();

  override sendCommand(...args: Parameters<Cluster['sendCommand']>): unknown {
    const sent = super.sendCommand(...args);
    forgetContent(args[0]);
    return sent;
  }

  beginTurn(): void {
    this.turn.begin();
  }
}

/**
 * Runs this at the end of the turn of the event loop, right before its commands are written: what has come together by
 * then can be one command.
 */
export function atTurnEnd(redis: Connection, act: () => void): void {
  redis.beginTurn();
  redis.turn.finallyDo(act);
}

/**
 * Resolves when the commands so far have been handed to the system, which delivers them also where this process dies.
 * @returns undefined where they have been already.
 */
export function written(redis: Connection): Promise<void> | undefined {
  return redis.turn.over;
}

function open<C extends Redis | Cluster>(redis: C, onError: (error: Error) => void): C {
  redis.on('error', onError);
  // The first attempt is like all others: its failure is reported as an event.
  redis.connect().catch(() => undefined);
  return redis;
}

type Nodes = readonly [URL, ...URL[]];

/** Of a cluster, the nodes that are named, of which there may be more; undefined where the URL is that of a server. */
function clusterNodes(url: string): Nodes | undefined {
  const [first, ...others] = url.split(',').map((node) => new URL(node));
  if (!first) return undefined;
  const isCluster = others.length > 0 || first.searchParams.get('cluster') === 'true';
  return isCluster ? [first, ...others] : undefined;
}

function createCluster(nodes: Nodes): GatheringCluster {
  const { enableOfflineQueue: _queue, retryStrategy: _strategy, ...ofNodes } = OPTIONS;
  return new GatheringCluster(nodes.map(addressOf), {
    ...CLUSTER_OPTIONS,
    redisOptions: { ...ofNodes, ...credentialsOf(nodes[0]) },
  });
}

function addressOf({ hostname, port }: URL): { readonly host: string; readonly port: number } {
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) };
}

/** How to speak to every node of a cluster, also to those that are found later. */
function credentialsOf({ username, password, protocol }: URL): ConnectionOptions {
  return {
    ...(username && { username: decodeURIComponent(username) }),
    ...(password && { password: decodeURIComponent(password) }),
    ...(protocol === 'rediss:' && { tls: {} }),
  };
}
