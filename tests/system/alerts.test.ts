import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { ERRORS, type ErrorCode } from '../../src/domain/error.ts';
import { findPromtool, PROMETHEUS_FILES } from '../support/prometheus.ts';

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface RuleFile {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}

interface RuleTests {
  readonly tests: readonly {
    readonly alert_rule_test: readonly {
      readonly alertname: string;
      readonly exp_alerts: readonly unknown[];
    }[];
  }[];
}

const readYaml = (name: string) => parse(readFileSync(join(PROMETHEUS_FILES, name), 'utf8'));
const ruleFile: RuleFile = readYaml('alerts.yml');
const ruleTests: RuleTests = readYaml('alerts.test.yml');
const rules = ruleFile.groups.flatMap((group) => group.rules);
const alerts = rules.flatMap((rule) => (rule.alert === undefined ? [] : [{ ...rule, name: rule.alert }]));
const names = alerts.map(({ name }) => name);

const operations = readFileSync(join(import.meta.dirname, '../../docs/operations.md'), 'utf8');

describe('promtool', () => {
  let promtool: string;
  beforeAll(async () => {
    promtool = await findPromtool();
  });
  const run = (...args: string[]) => promisify(execFile)(promtool, args, { cwd: PROMETHEUS_FILES });

  test('accepts the configuration and the rules that it names', async () => {
    const { stdout } = await run('check', 'config', 'prometheus.yml');
    expect(stdout).toContain(`${rules.length} rules found`);
  });

  test('sees each alert fire when it should, and not when it should not', async () => {
    await run('test', 'rules', 'alerts.test.yml');
    const cases = ruleTests.tests.flatMap(({ alert_rule_test }) => alert_rule_test);
    const having = (fires: boolean) =>
      new Set(cases.filter((one) => one.exp_alerts.length > 0 === fires).map((one) => one.alertname));
    expect(names.filter((name) => !having(true).has(name))).toEqual([]);
    expect(names.filter((name) => !having(false).has(name))).toEqual([]);
  });
});

describe('the alerts', () => {
  test.each(alerts)('$name says how urgent it is, what is wrong and where its runbook is', (alert) => {
    expect(alert.name).toMatch(/^LlmGateway[A-Z]/);
    expect(alert.labels?.['severity']).toMatch(/^(page|ticket)$/);
    expect(alert.annotations).toEqual({
      summary: expect.stringMatching(/\.$/),
      description: expect.stringMatching(/\.$/),
      runbook_url: `docs/operations.md#${alert.name.toLowerCase()}`,
    });
  });

  test('have a section each in docs/operations.md, and no other sections are there', () => {
    const sections = [...operations.matchAll(/^#+ (LlmGateway\w+)$/gm)].map(([, name]) => name);
    expect(sections.sort()).toEqual([...names].sort());
  });

  test('are listed in docs/operations.md with their urgency', () => {
    const listed = [...operations.matchAll(/^\| \[`(LlmGateway\w+)`\]\(#(\w+)\) \| (\w+) \|/gm)];
    expect(listed.map(([, name, anchor, severity]) => [name, anchor, severity])).toEqual(
      alerts.map(({ name, labels }) => [name, name.toLowerCase(), labels?.['severity']]),
    );
  });
});

describe('the failures that are counted', () => {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  /** The codes that a rule's selector lets through; the empty one is that of success. */
  const counted = (record: string) => {
    const rule = rules.find((one) => one.record === record);
    const pattern = /code=~"([^"]+)"/.exec(rule?.expr ?? '')?.[1] ?? '';
    return ['', ...codes].filter((code) => new RegExp(`^(?:${pattern})$`).test(code));
  };
  const ours = codes.filter((code) => ERRORS[code].owner === 'upstream' || ERRORS[code].owner === 'gateway');

  test('are those that the gateway and the model servers own, save what the model itself gets wrong', () => {
    expect(counted('job:llm_gateway_requests_failed:rate10m')).toEqual(
      ours.filter((code) => code !== 'upstream_invalid_output'),
    );
  });

  test('are a share of the requests that no caller and no limit has spoilt', () => {
    expect(counted('job:llm_gateway_requests_answerable:rate10m').sort()).toEqual(
      ['', 'client_closed', ...ours].sort(),
    );
  });
});
