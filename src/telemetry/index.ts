import type { LogFields, Telemetry } from '../core/ports.ts';
import type { GatewayError } from '../domain/error.ts';
import type { UsageRecord } from '../domain/record.ts';
import { createLog, type LogDestination, type LogLevel } from './log.ts';
import { createMetrics, type Exposition, type MetricsOptions } from './metrics.ts';

export interface TelemetryOptions extends MetricsOptions {
  readonly level: LogLevel;
  /** Standard output where absent. */
  readonly destination?: LogDestination;
}

export interface GatewayTelemetry extends Telemetry {
  /** Everything in the text format of Prometheus. */
  metrics(): Promise<Exposition>;
  /** Resolves when every line so far is out, or cannot get out. For the end of the process. */
  flush(): Promise<void>;
}

/** Logs and metrics behind the one port that the rest of the gateway knows. */
export function createTelemetry(options: TelemetryOptions): GatewayTelemetry {
  const log = createLog(options.level, options.replica, options.destination);
  const metrics = createMetrics(options);
  return {
    ...metrics,
    log: log.write,
    requestEnded(record, error) {
      metrics.requestEnded(record);
      log.write(levelOf(record, error), 'request', describeRequest(record, error));
    },
    metrics: metrics.expose,
    flush: log.flush,
  };
}

/** A caller's mistake is news for the caller; an operator wants to hear of backends and, first of all, of the gateway. */
function levelOf(record: UsageRecord, error: GatewayError | undefined): 'info' | 'warn' | 'error' {
  if (record.status !== 'error' || !error) return 'info';
  const levels = { caller: 'info', limit: 'info', upstream: 'warn', gateway: 'error' } as const;
  return levels[error.owner];
}

/** The line of one request: every field is named here, so nothing else can get into it. */
function describeRequest(record: UsageRecord, error: GatewayError | undefined): LogFields {
  const { usage, timings } = record;
  return {
    id: record.id,
    request_id: record.requestId,
    key_id: record.keyId,
    protocol: record.protocol,
    operation: record.operation,
    model: record.model,
    backend: record.backend,
    streamed: record.streamed,
    status: record.status,
    finish_reason: record.finishReason,
    code: record.errorCode,
    owner: error?.owner,
    detail: error?.detail,
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    reasoning_tokens: usage.reasoningTokens,
    cached_tokens: usage.cachedTokens,
    estimated: usage.estimated,
    queue_ms: rounded(timings.queueMs),
    load_ms: rounded(timings.loadMs),
    prompt_ms: rounded(timings.promptMs),
    first_token_ms: rounded(timings.firstTokenMs),
    total_ms: rounded(timings.totalMs),
    tokens_per_second: rounded(timings.tokensPerSecond),
  };
}

/** Clocks count in nanoseconds, people do not. */
function rounded(value: number | undefined): number | undefined {
  return value === undefined ? undefined : Math.round(value * 100) / 100;
}
