/**
 * Makes `kubernetes-schemas.json`, by which tests judge the manifests. From the root of the project:
 *
 *   node tests/support/import-kubernetes-schemas.ts KUBERNETES PROMETHEUS_OPERATOR
 *
 * where the arguments are the unpacked Go modules `k8s.io/kubernetes` and
 * `github.com/prometheus-operator/prometheus-operator`, of which `go mod download -json MODULE@VERSION` prints `Dir`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parse } from 'yaml';

/** What the manifests have. */
const KINDS = [
  'io.k8s.api.core.v1.Namespace',
  'io.k8s.api.core.v1.ServiceAccount',
  'io.k8s.api.core.v1.Service',
  'io.k8s.api.core.v1.ConfigMap',
  'io.k8s.api.core.v1.Secret',
  'io.k8s.api.apps.v1.Deployment',
  'io.k8s.api.batch.v1.Job',
  'io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler',
  'io.k8s.api.policy.v1.PodDisruptionBudget',
  'io.k8s.api.networking.v1.NetworkPolicy',
  'io.k8s.api.networking.v1.Ingress',
];
const POD_MONITOR = 'com.coreos.monitoring.v1.PodMonitor';
const OBJECT_META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
/** Values that are written in more than one type. */
const SCALARS: Readonly<Record<string, Schema>> = {
  'io.k8s.apimachinery.pkg.util.intstr.IntOrString': { type: ['integer', 'string'] },
  'io.k8s.apimachinery.pkg.api.resource.Quantity': { type: ['number', 'string'] },
};

type Schema = { readonly [keyword: string]: unknown };

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Without what is for people and for the server, and with every field that is not known being an error. */
function strictly(schema: Schema): Schema {
  const strict: Record<string, unknown> = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (keyword === 'description' || keyword === 'format' || keyword.startsWith('x-')) continue;
    if (keyword === 'properties' && isSchema(value)) {
      strict[keyword] = Object.fromEntries(
        Object.entries(value).map(([name, property]) => [
          name,
          isSchema(property) ? strictly(property) : property,
        ]),
      );
    } else strict[keyword] = isSchema(value) ? strictly(value) : value;
  }
  const isOpen = 'additionalProperties' in strict || schema['x-kubernetes-preserve-unknown-fields'] === true;
  return 'properties' in strict && !isOpen ? { ...strict, additionalProperties: false } : strict;
}

function referencesOf(schema: unknown): readonly string[] {
  if (Array.isArray(schema)) return schema.flatMap(referencesOf);
  if (!isSchema(schema)) return [];
  const { $ref } = schema;
  const own = typeof $ref === 'string' ? [$ref.replace('#/definitions/', '')] : [];
  return [...own, ...Object.values(schema).flatMap(referencesOf)];
}

function importCore(root: string): Map<string, Schema> {
  const { definitions } = JSON.parse(readFileSync(join(root, 'api/openapi-spec/swagger.json'), 'utf8'));
  const found = new Map<string, Schema>();
  const visit = (name: string) => {
    if (found.has(name)) return;
    const schema = SCALARS[name] ?? strictly(definitions[name]);
    found.set(name, schema);
    for (const reference of referencesOf(schema)) visit(reference);
  };
  for (const name of KINDS) visit(name);
  return found;
}

function importPodMonitor(root: string): Schema {
  const path = join(root, 'example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml');
  const { spec } = parse(readFileSync(path, 'utf8'));
  const schema = strictly(spec.versions[0].schema.openAPIV3Schema);
  const properties = isSchema(schema['properties']) ? schema['properties'] : {};
  return { ...schema, properties: { ...properties, metadata: { $ref: `#/definitions/${OBJECT_META}` } } };
}

const [kubernetes = '', operator = ''] = process.argv.slice(2);
const definitions = importCore(kubernetes).set(POD_MONITOR, importPodMonitor(operator));
const sources = [kubernetes, operator].map((path) => basename(path)).join(' and ');
const $comment =
  `The schemas of the kinds in deploy/kubernetes, made by import-kubernetes-schemas.ts from the API definitions of ${sources}, ` +
  'without descriptions and with unknown fields being errors. Copyright The Kubernetes Authors and The prometheus-operator ' +
  'Authors, Apache License 2.0.';
const sorted = Object.fromEntries([...definitions].sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(
  join(import.meta.dirname, 'kubernetes-schemas.json'),
  `${JSON.stringify({ $comment, definitions: sorted }, null, 2)}\n`,
);
