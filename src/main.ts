import { banner } from './banner.ts';
import { messageOf } from './cli/program.ts';
import { type App, compose } from './compose.ts';
import { type Config, ConfigError, configFromEnvironment } from './config.ts';
import { DEMO_KEYS } from './core/demo-keys.ts';
import { GatewayError, toGatewayError } from './domain/error.ts';
import type { Model } from './domain/model.ts';

/** Reads the configuration, composes, listens, and drains on a signal. */
async function main(): Promise<void> {
  // A diagnostic report is made to be sent to somebody, and the environment has passwords and the admin key in it.
  process.report.excludeEnv = true;
  const config = configFromEnvironment();
  const stopper = createStopper(config);
  // Heard from the start, as the first process of a container is not ended by a signal that it does not hear; and for as
  // long as it runs: a second one, such as npm's own after Ctrl-C, must not cut the first one's order short.
  process.on('SIGTERM', () => stopper.stop('SIGTERM', 0));
  process.on('SIGINT', () => stopper.stop('SIGINT', 0));

  const app = await compose(config);
  // A bug has left things in a state that nobody knows: end in order, and let the supervisor start anew. Heard for as long
  // as that takes, too: a second one, unheard, would cut the answers that run on.
  process.on('unhandledRejection', (error) =>
    stopper.stop(toGatewayError(error).detail ?? 'unhandled rejection', 1),
  );
  process.on('uncaughtException', (error) =>
    stopper.stop(toGatewayError(error).detail ?? 'uncaught exception', 1),
  );
  if (!stopper.begin(app)) return;

  const { port } = await app.listen().catch(async (error: unknown) => {
    await app.close(0);
    throw error;
  });
  app.telemetry.log('info', 'listening', { port });
  if (!config.production) process.stdout.write(greet(config, app, port));
}

/** Ends the gateway once, for the first reason given. */
interface Stopper {
  /** Where there is no gateway yet, it ends as soon as there is: what has been opened is closed in order. */
  stop(reason: string, exitCode: number): void;
  /** @returns false where it is to end already. */
  begin(app: App): boolean;
}

function createStopper({ shutdownGraceMs }: Config): Stopper {
  let running: App | undefined;
  let ending: { readonly reason: string; readonly exitCode: number } | undefined;
  const end = () => {
    if (!running || !ending) return;
    const { reason, exitCode } = ending;
    running.telemetry.log(exitCode === 0 ? 'info' : 'error', 'stopping', { reason });
    running.close(shutdownGraceMs).then(
      () => process.exit(exitCode),
      () => process.exit(1),
    );
  };
  return {
    stop(reason, exitCode) {
      if (ending) return;
      ending = { reason, exitCode };
      end();
    },
    begin(app) {
      running = app;
      end();
      return ending === undefined;
    },
  };
}

function greet(config: Config, app: App, port: number): string {
  const loopback = config.host === '127.0.0.1' || config.host === '0.0.0.0' || config.host === '::';
  return banner({
    url: `http://${loopback ? 'localhost' : config.host}:${port}`,
    ...(config.seedDemoKeys && { demoKey: DEMO_KEYS[0].secret }),
    simulated: app.simulated,
    embeddedDatabase: config.databaseUrl === undefined,
    model: exampleModel(app.models()),
  });
}

/** A model that the printed commands can really ask, where there is one. */
function exampleModel(models: readonly Model[]): string {
  const usual = 'llama3.1:8b';
  const chatting = models.filter(
    ({ capabilities }) => capabilities.length === 0 || capabilities.includes('completion'),
  );
  return (chatting.find(({ id }) => id === usual) ?? chatting[0])?.id ?? usual;
}

main().catch((error: unknown) => {
  // What an operator can mend, such as a port in use, comes as one readable message, everything else with its stack.
  const isSystemError = error instanceof Error && 'syscall' in error;
  const expected = error instanceof ConfigError || error instanceof GatewayError || isSystemError;
  process.stderr.write(`${expected ? messageOf(error) : (error instanceof Error && error.stack) || error}\n`);
  process.exit(1);
});
