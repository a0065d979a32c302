import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { loadConfig } from '../../src/config.ts';
import { describeVariables } from '../../src/variables.ts';
import {
  type ComposeService,
  environmentOf,
  listReferences,
  readComposeFile,
  readEnvExample,
  readText,
} from '../support/compose-file.ts';
import { isIgnored, listCopies, readStages } from '../support/dockerfile.ts';

const ROOT = join(import.meta.dirname, '../..');
const OVERRIDE = 'tests/containers/compose.simulator.yml';
const PLACEHOLDER = 'change-me';

const { version } = JSON.parse(readText('package.json'));
const compose = readComposeFile();
const services = Object.entries(compose.services);
const gateways = services.filter(([name]) => name.startsWith('gateway-'));
const gatewayVariables = describeVariables().map(({ name }) => name);
/** Where the image is, the ports on this machine, and what else concerns Compose and no process. */
const COMPOSE_VARIABLES = [
  'COMPOSE_PROFILES',
  'GATEWAY_IMAGE',
  'GATEWAY_PULL_POLICY',
  'HOST_GATEWAY',
  'HTTP_ADDRESS',
  'HTTP_PORT',
  'OLLAMA_MEMORY',
  'POSTGRES_PORT',
  'REDIS_PORT',
];
/** What the other images read, or the templates that nginx's fills in. */
const IMAGE_VARIABLES: Readonly<Record<string, readonly string[]>> = {
  nginx: ['NGINX_SERVER_NAMES'],
  postgres: ['POSTGRES_USER', 'POSTGRES_PASSWORD', 'POSTGRES_DB', 'POSTGRES_INITDB_ARGS'],
  redis: ['REDISCLI_AUTH'],
  ollama: ['OLLAMA_NUM_PARALLEL'],
};
/** There is no embedded database here. */
const NOT_PASSED = ['DATA_DIR'];
/** What becomes part of another value. */
const PARTS = ['POSTGRES_PASSWORD', 'REDIS_PASSWORD'];

const seconds = (text = '') => Number(/^(\d+)s$/.exec(text)?.[1]);
const bytes = (text = '') => {
  const [, count, unit = ''] = /^(\d+)([MG])B?$/i.exec(text) ?? [];
  return Number(count) * ({ M: 2 ** 20, G: 2 ** 30 }[unit.toUpperCase()] ?? Number.NaN);
};

describe('the compose file', () => {
  const schema = JSON.parse(readText('tests/support/compose-spec.json'));
  const validate = new Ajv2020({ strict: false, allErrors: true }).compile(schema);

  test.each([
    ['by itself', compose],
    ['with .env.example', readComposeFile(readEnvExample())],
    ['with all that .env.example proposes', readComposeFile(readEnvExample({ proposed: true }))],
    ['of the container test', readComposeFile({}, OVERRIDE)],
  ])('%s is valid by the Compose Specification', (_title, file) => {
    expect({ valid: validate(file), errors: validate.errors }).toEqual({ valid: true, errors: null });
  });

  test('has nginx, three gateways, a migration, PostgreSQL and Redis, and Ollama only where it is asked for', () => {
    const usual = services.filter(([, { profiles }]) => profiles === undefined).map(([name]) => name);
    expect(usual.sort()).toEqual([
      'gateway-1',
      'gateway-2',
      'gateway-3',
      'migrate',
      'nginx',
      'postgres',
      'redis',
    ]);
    expect(compose.services['ollama']?.profiles).toEqual(['ollama']);
  });

  test('every service starts again, leaves a bounded log and can do no more than it must', () => {
    for (const [name, service] of services) {
      expect([name, service]).toEqual([
        name,
        expect.objectContaining({
          restart: name === 'migrate' ? 'no' : 'unless-stopped',
          init: true,
          read_only: true,
          cap_drop: ['ALL'],
          security_opt: ['no-new-privileges:true'],
          logging: { driver: 'json-file', options: { 'max-size': '10m', 'max-file': '3' } },
          networks: expect.anything(),
        }),
      ]);
      const limits = service.deploy?.resources?.limits;
      expect([name, bytes(limits?.memory)]).toEqual([name, expect.any(Number)]);
      expect([name, bytes(limits?.memory)]).not.toEqual([name, Number.NaN]);
      expect([name, limits?.pids]).toEqual([name, expect.any(Number)]);
      // nginx starts its workers as another user.
      const added = name === 'nginx' ? ['CHOWN', 'KILL', 'SETGID', 'SETUID'] : undefined;
      expect([name, service.cap_add, service.privileged]).toEqual([name, added, undefined]);
    }
    expect(readText('docker-compose.yml')).not.toContain('docker.sock');
  });

  test('every service that stays has a health check, and whoever needs another waits for it', () => {
    const lasting = services.filter(([name]) => name !== 'migrate');
    for (const [name, { healthcheck }] of lasting) {
      expect([name, healthcheck]).toEqual([
        name,
        {
          test: expect.arrayContaining(['CMD']),
          interval: expect.stringMatching(/^\d+s$/),
          timeout: expect.stringMatching(/^\d+s$/),
          start_period: expect.stringMatching(/^\d+s$/),
          retries: expect.any(Number),
        },
      ]);
    }
    const healthy = { condition: 'service_healthy' };
    for (const [, { depends_on }] of gateways) {
      const migrated = { condition: 'service_completed_successfully' };
      expect(depends_on).toEqual({ migrate: migrated, postgres: healthy, redis: healthy });
    }
    expect(compose.services['migrate']?.depends_on).toEqual({ postgres: healthy });
    expect(compose.services['nginx']?.depends_on).toEqual(
      Object.fromEntries(gateways.map(([name]) => [name, healthy])),
    );
  });

  test('images are pinned by their exact versions, PostgreSQL’s with its Debian release', () => {
    const images = services.map(([, { image }]) => image);
    for (const image of images) expect(image).toMatch(/:\d+\.\d+\.\d+(-\w+)?$|^postgres:\d+\.\d+-\w+$/);
    const own = [...gateways.map(([, service]) => service), compose.services['migrate']];
    expect(new Set(own.map((service) => service?.image))).toEqual(new Set([`llm-gateway:${version}`]));
    expect(services.filter(([, { build }]) => build !== undefined).map(([name]) => name)).toEqual([
      'migrate',
    ]);
  });

  test('only this machine reaches the databases, and without a word from the operator also the gateway', () => {
    for (const file of [
      compose,
      readComposeFile({ ...readEnvExample({ proposed: true }), HTTP_ADDRESS: '' }),
    ]) {
      const published = Object.values(file.services).flatMap(({ ports = [] }) => ports);
      expect(published).toEqual(['127.0.0.1:3000:3000', '127.0.0.1:15432:5432', '127.0.0.1:16379:6379']);
    }
    const { nginx, postgres, redis } = readComposeFile({ HTTP_ADDRESS: '0.0.0.0' }).services;
    expect([nginx?.ports, postgres?.ports, redis?.ports].flat()).toEqual(
      expect.arrayContaining(['0.0.0.0:3000:3000', '127.0.0.1:15432:5432', '127.0.0.1:16379:6379']),
    );
  });

  test('neither nginx nor Ollama has a network in common with the databases', () => {
    const networksOf = (name: string) => compose.services[name]?.networks ?? [];
    const data = new Set([...networksOf('postgres'), ...networksOf('redis')]);
    for (const name of ['nginx', 'ollama'])
      expect(networksOf(name).filter((one) => data.has(one))).toEqual([]);
    const named = services.flatMap(([name]) => networksOf(name));
    expect(new Set(named)).toEqual(new Set(Object.keys(compose.networks)));
  });

  test('data is in named volumes, and what is mounted from here exists', () => {
    const mounts = services.flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')));
    const sources = mounts.flatMap(([source = '', target]) => (target === undefined ? [] : [source]));
    const [here, named] = [
      sources.filter((one) => one.startsWith('.')),
      sources.filter((one) => !one.startsWith('.')),
    ];
    expect(here.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    expect(new Set(named)).toEqual(new Set(Object.keys(compose.volumes)));
  });

  test('bodies that wait at nginx take no memory', () => {
    const [, path] = /^client_body_temp_path (.*);$/m.exec(readText('nginx/http.conf')) ?? [];
    expect(compose.services['nginx']?.volumes).toContain(path);
  });

  test('gateways and nginx are not killed before the grace that requests have is over', () => {
    for (const [, service] of gateways) {
      const graceMs = Number(environmentOf(service)['SHUTDOWN_GRACE_MS']);
      expect(graceMs).toBeGreaterThan(0);
      expect(seconds(service.stop_grace_period) * 1000).toBeGreaterThanOrEqual(graceMs + 10_000);
      expect(seconds(compose.services['nginx']?.stop_grace_period)).toBe(seconds(service.stop_grace_period));
    }
  });

  test('Redis keeps what it has over a restart, evicts none of it, and stays below its memory limit', () => {
    const { command = [], deploy } = compose.services['redis'] ?? ({} as ComposeService);
    const words = command.join(' ').split(/\s+/);
    const settingOf = (option: string) => words[words.indexOf(option) + 1];
    expect(words).toContain('redis-server');
    expect(['--appendonly', '--maxmemory-policy'].map(settingOf)).toEqual(['yes', 'noeviction']);
    // A rewrite of its log may need as much again.
    expect(bytes(settingOf('--maxmemory')) * 2).toBeLessThan(bytes(deploy?.resources?.limits?.memory));
  });

  test('nginx lists the gateways that there are', () => {
    const listed = [...readText('nginx/upstreams/gateway.conf').matchAll(/^server ([\w-]+):3000 /gm)];
    expect(listed.map(([, name]) => name)).toEqual(gateways.map(([name]) => name));
  });
});

describe('variables', () => {
  test('every one that a container gets is one that its process reads', () => {
    for (const [name, service] of services) {
      const known = service.image.startsWith('llm-gateway')
        ? gatewayVariables
        : (IMAGE_VARIABLES[name] ?? []);
      const unknown = Object.keys(service.environment ?? {}).filter((variable) => !known.includes(variable));
      expect([name, unknown]).toEqual([name, []]);
    }
    const templates = readText('nginx/templates/names.conf.template');
    expect(templates).toContain(`\${${IMAGE_VARIABLES['nginx']}}`);
  });

  test('every one of the gateway’s is passed on or given a value', () => {
    for (const [name, { environment = {} }] of gateways) {
      const missing = gatewayVariables.filter((variable) => !Object.hasOwn(environment, variable));
      expect([name, missing]).toEqual([name, NOT_PASSED]);
    }
  });

  test('every one that the compose file reads is in .env.example, and the other way round', () => {
    const described = Object.keys(readEnvExample({ proposed: true }));
    expect(new Set(described).size).toBe(described.length);
    const read = [...listReferences().keys(), 'COMPOSE_PROFILES'];
    expect(described.sort()).toEqual(read.sort());
    const known = [
      ...gatewayVariables,
      ...COMPOSE_VARIABLES,
      ...Object.values(IMAGE_VARIABLES).flat(),
      ...PARTS,
    ];
    expect(described.filter((name) => !known.includes(name))).toEqual([]);
  });

  test('the replicas differ in their names alone, know how many they are, and trust one proxy', () => {
    const environments = gateways.map(([, service]) => environmentOf(service));
    for (const [index, { REPLICA_ID, ...rest }] of environments.entries()) {
      expect(REPLICA_ID).toBe(gateways[index]?.[0]);
      expect({ ...rest, REPLICA_ID: 'gateway-1' }).toEqual(environments[0]);
      expect(rest).toMatchObject({
        REPLICAS: `${gateways.length}`,
        TRUSTED_PROXIES: '1',
        HOST: '0.0.0.0',
        PORT: '3000',
      });
    }
  });

  test('there is no secret in either file: what is one has a placeholder, which both halves of a pair take', () => {
    for (const [name, fallback] of listReferences()) {
      const isSecret = /PASSWORD|ADMIN_KEY|SECRET|TOKEN/.test(name);
      if (isSecret) expect([name, fallback ?? PLACEHOLDER]).toEqual([name, PLACEHOLDER]);
    }
    expect(readEnvExample()).toMatchObject({
      POSTGRES_PASSWORD: PLACEHOLDER,
      REDIS_PASSWORD: PLACEHOLDER,
      GATEWAY_ADMIN_KEY: PLACEHOLDER,
    });
    const secrets = { POSTGRES_PASSWORD: 'p0stgres', REDIS_PASSWORD: 'r3dis' };
    const configured = JSON.stringify(readComposeFile(secrets).services);
    expect(configured).not.toContain(PLACEHOLDER);
    expect(configured.match(/p0stgres/g)).toHaveLength(gateways.length + 2);
    expect(configured.match(/r3dis/g)).toHaveLength(gateways.length + 2);
    // Everybody on the machine can read it there.
    for (const { command } of Object.values(readComposeFile(secrets).services)) {
      expect(String(command)).not.toMatch(/p0stgres|r3dis/);
    }
  });
});

describe('what the gateway makes of it', () => {
  const [, gateway] = gateways[0] ?? [];
  const configOf = (variables: Readonly<Record<string, string>>) => {
    const service = readComposeFile(variables).services['gateway-1'];
    return loadConfig(service ? environmentOf(service, variables) : {});
  };

  test('without .env it is for trying out: demo keys, and a simulator where there is no Ollama', () => {
    expect(gateway).toBeDefined();
    expect(configOf({})).toMatchObject({
      production: false,
      seedDemoKeys: true,
      ollamaUrlsGiven: false,
      replicas: 3,
    });
  });

  test('.env.example as it is does not start, and every placeholder is named', () => {
    expect(() => configOf(readEnvExample())).toThrow(
      /3 problems:\n {2}GATEWAY_ADMIN_KEY .*placeholder.*\n {2}DATABASE_URL .*placeholder.*\n {2}REDIS_URL .*placeholder/,
    );
  });

  test('.env.example with secrets in place of the placeholders is production, without demo keys', () => {
    const secrets = {
      POSTGRES_PASSWORD: 'a1'.repeat(32),
      REDIS_PASSWORD: 'b2'.repeat(32),
      GATEWAY_ADMIN_KEY: `llmgw_${'c3'.repeat(32)}`,
    };
    expect(configOf({ ...readEnvExample(), ...secrets })).toMatchObject({
      production: true,
      seedDemoKeys: false,
      databaseUrl: `postgresql://gateway:${secrets.POSTGRES_PASSWORD}@postgres:5432/gateway`,
      redisUrl: `redis://:${secrets.REDIS_PASSWORD}@redis:6379`,
      adminKey: secrets.GATEWAY_ADMIN_KEY,
      ollamaUrls: ['http://host.docker.internal:11434'],
    });
  });

  test('production that forgot the demo keys does not start', () => {
    const secrets = { POSTGRES_PASSWORD: 'a1'.repeat(32), REDIS_PASSWORD: 'b2'.repeat(32) };
    expect(() => configOf({ NODE_ENV: 'production', ...secrets })).toThrow(/a problem:\n {2}SEED_DEMO_KEYS /);
  });
});

describe('the Dockerfile', () => {
  const stages = readStages();
  const image = stages.at(-1) ?? [];
  const valuesOf = (name: string) => image.filter((one) => one.name === name).map(({ value }) => value);

  test('everything it copies exists, and reaches the build', () => {
    const sources = stages.flatMap((stage) =>
      listCopies(stage).flatMap((copy) => (copy.fromStage ? [] : copy.sources)),
    );
    expect(sources).toEqual(
      expect.arrayContaining(['src', 'migrations', 'package.json', 'package-lock.json']),
    );
    for (const source of sources) {
      expect([source, existsSync(join(ROOT, source)), isIgnored(source)]).toEqual([source, true, false]);
    }
  });

  test.each([
    '.env',
    '.git/config',
    '.data/database',
    'tests/unit/a.test.ts',
    'node_modules/pg/package.json',
    'README.md',
  ])('%s stays out of the build', (path) => expect(isIgnored(path)).toBe(true));

  test('every stage is the very Node that runs everything else', () => {
    const node = JSON.parse(readText('package.json')).dependencies.node;
    for (const [from] of stages)
      expect(from?.value).toMatch(new RegExp(`^node:${node}-bookworm-slim( AS \\w+)?$`));
  });

  test('dependencies are those of production, from the lock file, and run no script', () => {
    const runs = stages.flat().filter(({ name }) => name === 'RUN');
    expect(runs.filter(({ value }) => value.includes('npm ')).map(({ value }) => value)).toEqual([
      expect.stringMatching(/^npm ci --omit=dev --ignore-scripts /),
    ]);
  });

  test('it runs unprivileged, in production, and hears SIGTERM itself', () => {
    expect(valuesOf('USER')).toEqual(['1000:1000']);
    expect(valuesOf('ENV').join(' ')).toContain('NODE_ENV=production');
    // As `npm start` does, flags included.
    const { start } = JSON.parse(readText('package.json')).scripts;
    expect(valuesOf('CMD').map((command) => `exec ${JSON.parse(command).join(' ')}`)).toEqual([start]);
    expect(valuesOf('ENTRYPOINT')).toEqual([]);
  });

  test('it is labelled with this version, and checked as Compose checks it', () => {
    expect(valuesOf('LABEL').join(' ')).toContain(`org.opencontainers.image.version="${version}"`);
    const [check = ''] = valuesOf('HEALTHCHECK');
    const [, ...command] = compose.services['gateway-1']?.healthcheck?.test ?? [];
    expect(JSON.parse(check.slice(check.indexOf('CMD') + 3))).toEqual(command);
  });
});
