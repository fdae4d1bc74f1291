/**
 * The count at the end: every reading carries its device's running number, so what is lost or doubled is known by the
 * reading itself and not by totals that might cancel out.
 */

interface DeviceTally {
  /** Samples 1 to this were published. */
  published: number
  readonly acknowledged: Set<number>
  /** How often each sample stood at the end of the way. */
  readonly arrivals: Map<number, number>
}

export interface TallyResult {
  readonly published: number
  readonly acknowledged: number
  /** Different readings that arrived. */
  readonly arrived: number
  /** Acknowledged to the device and never arrived. */
  readonly lost: number
  /** Arrivals beyond the first of a reading. */
  readonly duplicated: number
  /** Arrivals of readings that no device published. */
  readonly unknown: number
}

export class Tally {
  private readonly devices = new Map<string, DeviceTally>()

  /** Samples of a device are numbered 1, 2, 3 …. */
  published(serialNumber: string, sample: number): void {
    const device = this.device(serialNumber)
    device.published = Math.max(device.published, sample)
  }

  acknowledged(serialNumber: string, sample: number): void {
    this.device(serialNumber).acknowledged.add(sample)
  }

  arrived(serialNumber: string, sample: number): void {
    const { arrivals } = this.device(serialNumber)
    arrivals.set(sample, (arrivals.get(sample) ?? 0) + 1)
  }

  /** Without looking at single readings. */
  counts(): { readonly published: number; readonly acknowledged: number } {
    let [published, acknowledged] = [0, 0]
    for (const device of this.devices.values()) {
      published += device.published
      acknowledged += device.acknowledged.size
    }
    return { published, acknowledged }
  }

  /** As of now: what is still on its way counts as lost. */
  result(): TallyResult {
    let [published, acknowledged, arrived, lost, duplicated, unknown] = [0, 0, 0, 0, 0, 0]
    for (const device of this.devices.values()) {
      published += device.published
      acknowledged += device.acknowledged.size
      for (const sample of device.acknowledged) if (!device.arrivals.has(sample)) lost++
      for (const [sample, times] of device.arrivals) {
        if (sample < 1 || sample > device.published) {
          unknown += times
          continue
        }
        arrived++
        duplicated += times - 1
      }
    }
    return { published, acknowledged, arrived, lost, duplicated, unknown }
  }

  private device(serialNumber: string): DeviceTally {
    let device = this.devices.get(serialNumber)
    if (device === undefined) {
      device = { published: 0, acknowledged: new Set(), arrivals: new Map() }
      this.devices.set(serialNumber, device)
    }
    return device
  }
}

/** Everything that was published was acknowledged, arrived, and arrived once. */
export function isComplete(result: TallyResult): boolean {
  const { published, acknowledged, arrived, lost, duplicated, unknown } = result
  return published > 0 && acknowledged === published && arrived === published && lost + duplicated + unknown === 0
}
