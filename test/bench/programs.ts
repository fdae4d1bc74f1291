/** Edge and cloud under measurement: the compiled programs when they are given, otherwise the sources. */

import { type CloudProcess, type CloudProcessOptions, startCloud } from '../support/cloud-process.ts'
import { type EdgeProcess, type EdgeProcessOptions, startEdge } from '../support/edge-process.ts'
import type { Bench } from './figure.ts'

export function benchEdge({ edgeBinary }: Bench, options: EdgeProcessOptions): Promise<EdgeProcess> {
  return startEdge(edgeBinary === undefined ? options : { ...options, binary: edgeBinary })
}

export function benchCloud({ cloudBinary }: Bench, options: CloudProcessOptions): Promise<CloudProcess> {
  return startCloud(cloudBinary === undefined ? options : { ...options, binary: cloudBinary })
}
