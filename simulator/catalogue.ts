import type { Json } from './wire.ts';

export type Capability = 'completion' | 'tools' | 'thinking' | 'vision' | 'embedding' | 'insert';

export interface InstalledModel {
  readonly name: string;
  /** SHA-256 in hex, without a prefix. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly family: string;
  readonly families: readonly string[] | null;
  readonly parameterSize: string;
  readonly parameterCount: number;
  readonly quantization: string;
  /** What the model was trained for; a server runs it with less. */
  readonly contextLength: number;
  readonly embeddingLength: number;
  readonly capabilities: readonly Capability[];
  /** RFC 3339. */
  readonly modifiedAt: string;
  /** Further entries of `model_info`. */
  readonly info: Readonly<Record<string, Json>>;
  /** Stop strings and the like, as `/api/show` prints them: one `key  value` a line. */
  readonly parameters: string;
  readonly template: string;
  /** How long it takes to load, where it differs from the server's. */
  readonly loadMs?: number;
}

/** Also the base of what is made up for a model that is not in the catalogue. */
export const LLAMA: InstalledModel = {
  name: 'llama3.1:8b',
  digest: '46e0c10c039e019119339687c3c1757cc81b9da49709a3b3924863ba87ca666e',
  sizeBytes: 4_920_753_328,
  family: 'llama',
  families: ['llama'],
  parameterSize: '8.0B',
  parameterCount: 8_030_261_248,
  quantization: 'Q4_K_M',
  contextLength: 131_072,
  embeddingLength: 4096,
  capabilities: ['completion', 'tools'],
  modifiedAt: '2026-10-21T09:14:03.512874361+02:00',
  info: {},
  parameters:
    'stop                           "<|start_header_id|>"\nstop                           "<|end_header_id|>"\nstop                           "<|eot_id|>"',
  template: '{{ .System }}{{ range .Messages }}{{ .Content }}{{ end }}',
};

/** Models as published. The first five are what a server has unless told otherwise. */
export const CATALOGUE: readonly InstalledModel[] = [
  LLAMA,
  {
    ...LLAMA,
    name: 'mistral:7b',
    digest: '6577803aa9a036369e481d648a2baebb381ebc6e897f2bb9a766a2aa7bfbc1cf',
    sizeBytes: 4_372_824_384,
    parameterSize: '7.2B',
    parameterCount: 7_248_023_552,
    contextLength: 32_768,
    modifiedAt: '2026-10-20T18:40:51.094412007+02:00',
    parameters: 'stop                           "[INST]"\nstop                           "[/INST]"',
  },
  {
    ...LLAMA,
    name: 'phi3:mini',
    digest: '4f222292793889a9a40a020799cfd28d53f3e01af25d48e06c5e708610fc47e9',
    sizeBytes: 2_176_178_913,
    family: 'phi3',
    families: ['phi3'],
    parameterSize: '3.8B',
    parameterCount: 3_821_079_552,
    quantization: 'Q4_0',
    embeddingLength: 3072,
    capabilities: ['completion'],
    modifiedAt: '2026-10-19T07:02:44.730015926+02:00',
    info: { 'phi3.rope.scaling.original_context_length': 4096 },
    parameters:
      'stop                           "<|end|>"\nstop                           "<|user|>"\nstop                           "<|assistant|>"',
  },
  {
    ...LLAMA,
    name: 'qwen2.5:7b',
    digest: '845dbda0ea48ed749caafd9e6037047aa19acfcfd82e704d7ca97d631a0b697e',
    sizeBytes: 4_683_087_332,
    family: 'qwen2',
    families: ['qwen2'],
    parameterSize: '7.6B',
    parameterCount: 7_615_616_512,
    contextLength: 32_768,
    embeddingLength: 3584,
    modifiedAt: '2026-10-18T21:33:10.208846513+02:00',
    parameters: '',
  },
  {
    ...LLAMA,
    name: 'nomic-embed-text:latest',
    digest: '0a109f422b47e3a30ba2b10eca18548e944e8a23073ee3f3e947efcf3c45e59f',
    sizeBytes: 274_302_450,
    family: 'nomic-bert',
    families: ['nomic-bert'],
    parameterSize: '137M',
    parameterCount: 136_727_040,
    quantization: 'F16',
    contextLength: 2048,
    embeddingLength: 768,
    capabilities: ['embedding'],
    modifiedAt: '2026-10-17T12:26:38.441903275+02:00',
    parameters: 'num_ctx                        8192',
    template: '{{ .Prompt }}',
  },
  {
    ...LLAMA,
    name: 'qwen3:8b',
    digest: '500a1f067a9f782620b40bee6f7b0c89e17ae61f686b92c24933e4ca4b2b8b41',
    sizeBytes: 5_225_388_164,
    family: 'qwen3',
    families: ['qwen3'],
    parameterSize: '8.2B',
    parameterCount: 8_190_735_360,
    contextLength: 40_960,
    capabilities: ['completion', 'tools', 'thinking'],
    modifiedAt: '2026-10-16T16:08:29.667120384+02:00',
    parameters: '',
  },
  {
    ...LLAMA,
    name: 'gemma3:4b',
    digest: 'a2af6cc3eb7fa8be8504abaf9b04e88f17a119ec3f04a3addf55f92841195f5a',
    sizeBytes: 3_338_801_804,
    family: 'gemma3',
    families: ['gemma3'],
    parameterSize: '4.3B',
    parameterCount: 4_299_915_632,
    embeddingLength: 2560,
    capabilities: ['completion', 'vision'],
    modifiedAt: '2026-10-15T10:55:17.900326148+02:00',
    parameters: '',
  },
];
