/** Edge and cloud under measurement: the compiled programs when they are given, otherwise the sources. */

import { type CloudProcess, type CloudProcessOptions, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, type EdgeProcessOptions, startEdge } from '../support/edge-process.ts'
import type { Bench } from './figure.ts'

export function benchEdge(bench: Bench, options: EdgeProcessOptions): Promise<EdgeProcess> {
  return startEdge({ ...options, ...program(bench, bench.edgeBinary) })
}

export function benchCloud(bench: Bench, options: CloudProcessOptions): Promise<CloudProcess> {
  return startCloud({ ...options, ...program(bench, bench.cloudBinary) })
}

function program({ profileDir }: Bench, binary: string | undefined): { binary?: string; runtimeArguments?: string[] } {
  if (binary !== undefined) return { binary }
  return profileDir === undefined ? {} : { runtimeArguments: ['--cpu-prof-md', `--cpu-prof-dir=${profileDir}`] }
}
