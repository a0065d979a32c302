import { Redis, type RedisOptions } from 'ioredis';

/** The shape of replies is the library's default, and its types want it left out. */
type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>;

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
  retryStrategy: (attempt) => Math.min(50 * attempt, 1000),
};

/**
 * A connection that comes back by itself, for as long as it is not disconnected.
 * @param onError hears of every failure to connect, which are many during an outage.
 */
export function connect(
  url: string,
  onError: (error: Error) => void,
  overrides: ConnectionOptions = {},
): Redis {
  const redis = new Redis(url, { ...OPTIONS, ...overrides });
  redis.on('error', onError);
  // The first attempt is like all others: its failure is reported as an event.
  redis.connect().catch(() => undefined);
  return redis;
}
