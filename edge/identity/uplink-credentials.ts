/** Where the uplink dials and by what it is known there: the enrolled identity, or certificates made elsewhere. */

import type { Validity } from '../../shared/certificates.ts'
import { readTlsFiles } from '../../shared/config/pem.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { UplinkTls } from '../uplink/channel.ts'
import type { UplinkCredentials, UplinkTarget } from '../uplink/options.ts'
import { validityIn } from './certificates.ts'
import { type EnrolledIdentity, IdentityFile } from './identity-file.ts'

/** The settings of the uplink that say where and by what, see edge/config.ts. */
export interface TargetSettings {
  /** Empty for the one that was told at enrolment. */
  readonly address: string
  readonly insecure: boolean
  readonly tls: {
    readonly caFile: string
    readonly certFile: string
    readonly keyFile: string
    readonly serverName: string
  }
}

/** What a gateway dials by, and where that comes from. */
export interface GatewayCredentials extends UplinkCredentials {
  readonly source: 'enrolment' | 'files' | 'none'
  /** The file of the enrolled identity; null where that is not used. */
  readonly file: IdentityFile | null
  /** The dates of the certificate that was dialled with last; null without one. */
  dialledWith(): Validity | null
}

/** @param dir of the enrolled identity. */
export function gatewayCredentials(gatewayId: string, dir: string, settings: TargetSettings): GatewayCredentials {
  const ofFiles = settings.tls.certFile !== ''
  const file = settings.insecure || ofFiles ? null : new IdentityFile(dir)
  let dialled: UplinkTarget | null = null
  const target = (): UplinkTarget => {
    if (file !== null) return targetByIdentity(enrolled(file, gatewayId), settings)
    return settings.insecure ? { address: settings.address } : targetByFiles(settings)
  }
  return {
    source: settings.insecure ? 'none' : ofFiles ? 'files' : 'enrolment',
    file,
    target: () => {
      dialled = null
      dialled = target()
      return dialled
    },
    onChanged: (listener) =>
      file?.onChanged(() => {
        // A dial may have come first, by the backoff: then there is nothing new.
        if (certificateIn(file) !== dialled?.tls?.cert) listener()
      }),
    dialledWith: () => (dialled?.tls?.cert === undefined ? null : validityIn(dialled.tls.cert)),
  }
}

/** Read at every dial, so that whoever renews the files need not tell. */
function targetByFiles({ address, tls }: TargetSettings): UplinkTarget {
  return { address, tls: { ...readTlsFiles('uplink.tls', tls), ...named(tls.serverName) } }
}

function targetByIdentity(identity: EnrolledIdentity, settings: TargetSettings): UplinkTarget {
  const { certificate: cert, privateKey: key, authority } = identity
  const { ca = authority } = readTlsFiles('uplink.tls', { ...settings.tls, certFile: '', keyFile: '' })
  const address = settings.address || identity.ingestAddress
  if (address === null) {
    throw new BusbarError('nobody said where the ingest of the cloud is', {
      code: 'UPLINK_ADDRESS_MISSING',
      retryable: true,
      hint: 'Set uplink.address here, or ingest.publicAddress in the cloud and enrol this gateway again.',
    })
  }
  return { address, tls: { ca, cert, key, ...named(settings.tls.serverName || identity.serverName) } }
}

/** Undefined where there is none, whatever the reason: dialling tells it. */
function certificateIn(file: IdentityFile): string | undefined {
  try {
    return file.read()?.certificate
  } catch {
    return undefined
  }
}

function named(serverName: string): Pick<UplinkTls, 'serverName'> {
  return serverName === '' ? {} : { serverName }
}

/**
 * The identity of this gateway.
 * @throws BusbarError NOT_ENROLLED, IDENTITY_OF_ANOTHER, and what reading the file throws.
 */
export function enrolled(file: IdentityFile, gatewayId: string): EnrolledIdentity {
  const identity = file.read()
  if (identity === null) {
    throw new BusbarError('this gateway is not enrolled: the cloud does not know it', {
      code: 'NOT_ENROLLED',
      retryable: true,
      hint: 'busbar-edge enroll --url https://<cloud> --token-file <file>. Records are kept on disk until then.',
    })
  }
  if (identity.gatewayId === gatewayId) return identity
  throw new BusbarError(`the certificate here is of gateway ${identity.gatewayId}, and gateway.id is ${gatewayId}`, {
    code: 'IDENTITY_OF_ANOTHER',
    retryable: true,
    hint: `Set gateway.id back, or enrol this gateway anew: busbar-edge enroll --replace`,
  })
}
