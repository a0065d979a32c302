import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Ajv } from 'ajv';
import { parse } from 'yaml';
import { ConfigError, loadConfig } from '../../src/config.ts';
import { describeVariables } from '../../src/variables.ts';
import {
  type Container,
  type LabelSelector,
  MANIFESTS,
  type Manifest,
  type PodTemplate,
  readKustomizations,
  readManifests,
  readSettings,
  readText,
} from '../support/manifests.ts';

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));
const manifests = readManifests();
const kustomizations = readKustomizations();
const settings = readSettings();

function find(kind: string, name = 'llm-gateway'): Manifest {
  const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
  if (!found) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

function podsOf(manifest: Manifest): PodTemplate {
  return manifest.spec['template'] as PodTemplate;
}

function containerOf(manifest: Manifest): Container {
  const [container, ...others] = podsOf(manifest).spec.containers;
  if (!container || others.length > 0) throw new Error(`${manifest.file} has not one container`);
  return container;
}

const deployment = find('Deployment');
const job = find('Job', 'llm-gateway-migrate');
const gateway = containerOf(deployment);

function fits(selector: LabelSelector, { metadata }: PodTemplate): boolean {
  const wanted = Object.entries(selector.matchLabels ?? {});
  expect(wanted.length).toBeGreaterThan(0);
  return wanted.every(([label, value]) => metadata.labels[label] === value);
}

describe('the API', () => {
  const { definitions } = JSON.parse(
    readFileSync(join(import.meta.dirname, '../support/kubernetes-schemas.json'), 'utf8'),
  );
  const ajv = new Ajv({
    allErrors: true,
    strictTypes: false,
    schemas: [{ $id: 'kubernetes', definitions }],
  });
  const schemaNames = Object.keys(definitions);

  /** What the schema of its kind says against an object. */
  function problemsOf({ file: _file, ...object }: Manifest): readonly string[] {
    const [apiVersion = '', group = ''] = object.apiVersion.split('/').reverse();
    // The names of groups are domains, which the names of schemas reverse, and the core group has none.
    const place = [group.split('.')[0], apiVersion, object.kind].filter(Boolean).join('.');
    const name = schemaNames.find((schema) => schema.endsWith(`.${place}`));
    if (name === undefined) return [`no schema is called .${place}`];
    const validate = ajv.getSchema(`kubernetes#/definitions/${name}`);
    if (validate?.(object)) return [];
    return (validate?.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  }

  test.each(manifests.map((manifest) => [`${manifest.kind} ${manifest.metadata.name}`, manifest] as const))(
    'takes %s',
    (_name, manifest) => {
      expect(problemsOf(manifest)).toEqual([]);
    },
  );

  test('would not take a field that it does not know, nor a value of the wrong type', () => {
    const spec = { ...deployment.spec, replica: 3, minReadySeconds: 'five' };
    expect(problemsOf({ ...deployment, spec })).toEqual([
      '/spec must NOT have additional properties',
      '/spec/minReadySeconds must be integer',
    ]);
  });
});

describe('kustomizations', () => {
  test('name every file there is, and none that there is not', () => {
    const named = [...kustomizations].flatMap(
      ([folder, { resources, patches = [], configMapGenerator = [] }]) => [
        ...resources.filter((resource) => resource.endsWith('.yaml')).map((file) => `${folder}/${file}`),
        ...patches.map(({ path }) => `${folder}/${path}`),
        ...configMapGenerator.flatMap(({ envs = [] }) => envs.map((file) => `${folder}/${file}`)),
        `${folder}/kustomization.yaml`,
      ],
    );
    const apart = ['secret.example.yaml', 'monitoring/prometheus-adapter.yaml'];
    expect([...named, ...apart].sort()).toEqual(globSync('**/*.{yaml,env}', { cwd: MANIFESTS }).sort());
  });

  test('patch what is there', () => {
    for (const file of ['example/ingress.yaml', 'example/network-policy.yaml']) {
      const target = file.includes('ingress') ? find('Ingress') : find('NetworkPolicy');
      for (const { op, path } of parse(readText(file)) as readonly { op: string; path: string }[]) {
        expect(op).toBe('replace');
        const value = path
          .split('/')
          .slice(1)
          .reduce<unknown>((parent, key) => (parent as Record<string, unknown> | undefined)?.[key], target);
        expect([path, value]).toEqual([path, expect.anything()]);
      }
    }
  });

  test('pin the image to the version of this package', () => {
    for (const { image } of [gateway, containerOf(job)]) expect(image).toBe(`llm-gateway:${version}`);
    const images = [...kustomizations.values()].flatMap((kustomization) => kustomization.images ?? []);
    expect(images.length).toBeGreaterThan(0);
    for (const image of images) {
      expect(image).toMatchObject({ name: 'llm-gateway', newTag: version });
    }
  });
});

describe('settings', () => {
  const secret = find('Secret').stringData ?? {};
  const literals =
    kustomizations.get('example')?.configMapGenerator?.flatMap((map) => map.literals ?? []) ?? [];
  const adminKey = `llmgw_${'0123456789abcdef'.repeat(4)}`;

  test('are all variables of the gateway', () => {
    const known = describeVariables().map(({ name }) => name);
    const given = [
      ...Object.keys(settings),
      ...Object.keys(secret),
      ...Object.keys(find('Secret', 'llm-gateway-migrate').stringData ?? {}),
      ...literals.map((literal) => literal.split('=', 1)[0]),
      ...[gateway, containerOf(job)].flatMap(({ env = [] }) => env.map(({ name }) => name)),
    ];
    expect(given.filter((name) => name === undefined || !known.includes(name))).toEqual([]);
  });

  test('are what the gateway starts with, once the placeholders are gone', () => {
    const changed = Object.fromEntries(
      Object.entries(secret).map(([name, value]) => [name, value.replaceAll('change-me', 'a-real-one')]),
    );
    const env = { ...settings, ...Object.fromEntries(literals.map((literal) => literal.split('='))) };
    expect(
      loadConfig({ ...env, ...changed, GATEWAY_ADMIN_KEY: adminKey, REPLICA_ID: 'llm-gateway-5d4f8-x2x7q' }),
    ).toMatchObject({
      production: true,
      host: '0.0.0.0',
      seedDemoKeys: false,
    });
  });

  test('are refused with a placeholder in any of the secrets', () => {
    const refused = () => loadConfig({ ...settings, ...secret });
    expect(refused).toThrow(ConfigError);
    for (const name of Object.keys(secret)) expect(refused).toThrow(new RegExp(`${name} .*placeholder`));
  });

  test('come from a ConfigMap and a Secret that somebody makes', () => {
    const made = [...kustomizations.values()].flatMap(({ configMapGenerator = [] }) => configMapGenerator);
    for (const { configMapRef, secretRef } of gateway.envFrom ?? []) {
      if (configMapRef) expect(made.map(({ name }) => name)).toContain(configMapRef.name);
      if (secretRef) expect(find('Secret', secretRef.name)).toBeDefined();
    }
    for (const { valueFrom } of containerOf(job).env ?? []) {
      const reference = valueFrom?.secretKeyRef;
      expect(Object.keys(find('Secret', reference?.name).stringData ?? {})).toContain(reference?.key);
    }
    const resources = [...kustomizations.values()].flatMap((kustomization) => kustomization.resources);
    expect(resources.filter((file) => file.includes('secret'))).toEqual([]);
  });

  test('divide limits by as many replicas as there can be', () => {
    expect(settings['REPLICAS']).toBe(`${find('HorizontalPodAutoscaler').spec['maxReplicas']}`);
    expect(deployment.spec).not.toHaveProperty('replicas');
  });

  test('divide no places at the servers by more replicas than there usually are', () => {
    expect(Object.keys(settings)).not.toContain('OLLAMA_NUM_PARALLEL');
    expect(literals.filter((literal) => literal.startsWith('OLLAMA_NUM_PARALLEL='))).toEqual([]);
  });
});

describe('what belongs together', () => {
  test('what the migration needs can be told from the gateway, to be there before it', () => {
    const first = manifests.filter(
      ({ file, metadata }) =>
        file.startsWith('base/') && metadata.labels?.['app.kubernetes.io/component'] !== 'gateway',
    );
    expect(new Set(first.map(({ kind }) => kind))).toEqual(
      new Set(['Namespace', 'ServiceAccount', 'NetworkPolicy']),
    );
    expect(first.map(({ metadata }) => metadata.name)).toContain(podsOf(job).spec.serviceAccountName);
  });

  test('selectors find the pods of the gateway, and not those that migrate', () => {
    const { selector: ofService } = find('Service').spec;
    const selectors = [
      deployment.spec['selector'],
      { matchLabels: ofService },
      find('PodDisruptionBudget').spec['selector'],
      find('NetworkPolicy').spec['podSelector'],
      find('PodMonitor').spec['selector'],
      ...(podsOf(deployment).spec.topologySpreadConstraints ?? []).map(({ labelSelector }) => labelSelector),
    ] as readonly LabelSelector[];
    for (const selector of selectors) {
      expect(fits(selector, podsOf(deployment))).toBe(true);
      expect(fits(selector, podsOf(job))).toBe(false);
    }
    const migration = find('NetworkPolicy', 'llm-gateway-migrate').spec['podSelector'] as LabelSelector;
    expect(fits(migration, podsOf(job))).toBe(true);
    expect(fits(migration, podsOf(deployment))).toBe(false);
  });

  test('names of objects and ports lead from Ingress to the container', () => {
    const [port] = find('Service').spec['ports'] as readonly { name: string; targetPort: string }[];
    expect(gateway.ports?.map(({ name }) => name)).toEqual([port?.targetPort]);
    const backends = pathsOf(find('Ingress')).map(({ backend }) => backend.service);
    for (const service of backends)
      expect(service).toEqual({ name: 'llm-gateway', port: { name: port?.name } });
    expect(find('HorizontalPodAutoscaler').spec['scaleTargetRef']).toEqual({
      apiVersion: deployment.apiVersion,
      kind: deployment.kind,
      name: deployment.metadata.name,
    });
    const endpoints = find('PodMonitor').spec['podMetricsEndpoints'] as readonly { port: string }[];
    expect(endpoints.map((endpoint) => endpoint.port)).toEqual([port?.targetPort]);
    for (const pods of [deployment, job].map(podsOf)) {
      expect(find('ServiceAccount', pods.spec.serviceAccountName)).toBeDefined();
    }
  });

  test('the metric that scales replicas is the one that Kubernetes is told of', () => {
    const [metric] = find('HorizontalPodAutoscaler').spec['metrics'] as readonly {
      pods: { metric: { name: string } };
    }[];
    const { rules } = parse(readText('monitoring/prometheus-adapter.yaml'));
    expect(rules.custom[0].seriesQuery).toBe(`${metric?.pods.metric.name}{namespace!="",pod!=""}`);
  });
});

interface IngressPath {
  readonly path: string;
  readonly pathType: string;
  readonly backend: { readonly service: unknown };
}

function pathsOf(ingress: Manifest): readonly IngressPath[] {
  const rules = ingress.spec['rules'] as readonly { http: { paths: readonly IngressPath[] } }[];
  return rules.flatMap((rule) => rule.http.paths);
}

describe('ports', () => {
  type Rule = { readonly ports: readonly { readonly port: number | string }[] };
  const portsOf = (name: string, direction: string) =>
    (find('NetworkPolicy', name).spec[direction] as readonly Rule[]).flatMap(({ ports }) =>
      ports.map(({ port }) => port),
    );
  const portOf = (url: string) => Number(new URL(url).port);
  const { DATABASE_URL = '', REDIS_URL = '' } = find('Secret').stringData ?? {};

  test('the container listens where it says', () => {
    expect(gateway.ports?.map(({ containerPort }) => `${containerPort}`)).toEqual([settings['PORT']]);
  });

  test('pods may reach what they are told to use, and nothing else', () => {
    const used = [DATABASE_URL, ...REDIS_URL.split(','), ...(settings['OLLAMA_URLS'] ?? '').split(',')].map(
      portOf,
    );
    expect(new Set(portsOf('llm-gateway', 'egress'))).toEqual(new Set(used));
    expect(portsOf('llm-gateway-migrate', 'egress')).toEqual([portOf(DATABASE_URL)]);
    expect(new Set(portsOf('dns', 'egress'))).toEqual(new Set([53]));
    const [patch] = parse(readText('example/network-policy.yaml')) as readonly { value: readonly Rule[] }[];
    const narrowed = patch?.value.flatMap(({ ports }) => ports.map(({ port }) => port));
    expect(new Set(narrowed)).toEqual(new Set(used));
  });

  test('pods may be reached at the port of the gateway only, and the others not at all', () => {
    expect(portsOf('llm-gateway', 'ingress')).toEqual(['http']);
    for (const name of ['default-deny', 'llm-gateway-migrate']) {
      expect(find('NetworkPolicy', name).spec).not.toHaveProperty('ingress');
      expect(find('NetworkPolicy', name).spec['policyTypes']).toEqual(['Ingress', 'Egress']);
    }
    expect(find('NetworkPolicy', 'default-deny').spec['podSelector']).toEqual({});
  });
});

describe('times and sizes', () => {
  /** What the order of stopping takes beyond the grace, with everything away: see `tests/system/kubernetes.test.ts`. */
  const LAST_WORDS_SECONDS = 15;
  const annotations = find('Ingress').metadata.annotations ?? {};
  const config = loadConfig({ MAX_BODY_BYTES: settings['MAX_BODY_BYTES'] });

  test('a pod is not killed before the gateway has ended by itself', () => {
    const pause = gateway.lifecycle?.preStop.sleep.seconds ?? 0;
    const grace = Number(settings['SHUTDOWN_GRACE_MS']) / 1000;
    expect(pause).toBeGreaterThanOrEqual(5);
    expect(podsOf(deployment).spec.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(
      pause + grace + LAST_WORDS_SECONDS,
    );
  });

  test('a pod goes only when its successor is ready', () => {
    expect(deployment.spec['strategy']).toMatchObject({ rollingUpdate: { maxUnavailable: 0 } });
  });

  test('the way in takes bodies as large as the gateway, waits longer than any answer takes, and buffers none', () => {
    for (const [name, value] of Object.entries({
      'nginx.ingress.kubernetes.io/proxy-buffering': 'off',
      'nginx.org/proxy-buffering': 'false',
      'nginx.ingress.kubernetes.io/proxy-body-size': `${config.maxBodyBytes / 2 ** 20}m`,
      'nginx.org/client-max-body-size': `${config.maxBodyBytes / 2 ** 20}m`,
      'nginx.org/websocket-services': find('Service').metadata.name,
    })) {
      expect([name, annotations[name]]).toEqual([name, value]);
    }
    for (const name of ['nginx.ingress.kubernetes.io/proxy-read-timeout', 'nginx.org/proxy-read-timeout']) {
      expect(Number.parseInt(annotations[name] ?? '', 10) * 1000).toBeGreaterThan(config.timeouts.totalMs);
    }
  });

  test('the way in never repeats a request that was sent, and both controllers are told the same', () => {
    const told = (prefix: string) =>
      Object.fromEntries(
        Object.entries(annotations)
          .filter(([name]) => name.startsWith(`${prefix}/proxy-`))
          .map(([name, value]) => [name.slice(prefix.length + 1), value.replace(/s$/, '')]),
      );
    const both = [told('nginx.ingress.kubernetes.io'), told('nginx.org')].map(
      ({
        'proxy-request-buffering': _requests,
        'proxy-body-size': _size,
        'proxy-buffering': _off,
        ...rest
      }) => rest,
    );
    expect(both[0]).toEqual(both[1]);
    expect(both[0]?.['proxy-next-upstream']).toBe('error timeout');
  });
});

describe('pods', () => {
  test.each([
    ['of the gateway', deployment],
    ['that migrate', job],
  ])('%s may do no more than they need', (_name, manifest) => {
    const { spec } = podsOf(manifest);
    expect(spec.securityContext).toEqual({
      runAsNonRoot: true,
      runAsUser: 1000,
      runAsGroup: 1000,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(containerOf(manifest).securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(spec.automountServiceAccountToken).toBe(false);
    expect(spec.enableServiceLinks).toBe(false);
    expect(find('Namespace').metadata.labels).toMatchObject({
      'pod-security.kubernetes.io/enforce': 'restricted',
    });
  });

  test('run as the user of the image', () => {
    const dockerfile = readFileSync(join(import.meta.dirname, '../../Dockerfile'), 'utf8');
    expect(dockerfile).toMatch(/^USER 1000:1000$/m);
  });
});
