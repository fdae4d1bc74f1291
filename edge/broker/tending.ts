/** What the broker looks after while it runs: rights that someone changed, and the certificate that it shows. */

import type { Clock } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { ServerCertificateSource } from '../authority/server-certificate.ts'
import type { Connections } from './connections.ts'
import type { Gate } from './gate.ts'
import type { Listener } from './listeners.ts'
import type { DurablePersistence } from './persistence/durable-persistence.ts'
import type { Rights } from './rights.ts'

export interface Tended {
  readonly rights: Rights
  readonly gate: Gate
  readonly connections: Connections
  readonly persistence: DurablePersistence
  readonly listeners: readonly Listener[]
  readonly clock: Clock
  readonly log: Logger
}

/** To be called about once a second. */
export function tender(tended: Tended, certificates: ServerCertificateSource | undefined): () => void {
  const complaints = new ComplaintLimit(tended.clock)
  const secured = tended.listeners.some(({ kind }) => kind !== 'tcp')
  let renewing = false
  const renew = async (source: ServerCertificateSource): Promise<void> => {
    try {
      const certificate = await source.changed()
      if (certificate === null) return
      for (const listener of tended.listeners) listener.renew(certificate)
      tended.log.info("the broker's certificate was renewed")
    } catch (error) {
      // The one it had is shown until there is a better one.
      if (complaints.isDue())
        tended.log.error({ error: messageOf(error) }, "the broker's certificate cannot be renewed")
    } finally {
      renewing = false
    }
  }
  return () => {
    applyRights(tended)
    if (certificates === undefined || !secured || renewing) return
    renewing = true
    void renew(certificates)
  }
}

function applyRights({ rights, gate, connections, persistence }: Tended): void {
  const { changed, goneOwners } = rights.look()
  if (!changed) return
  gate.forgetFailures()
  connections.cutWithoutRights(
    ({ identity, proof }) => (identity === null || proof === null ? null : rights.lost(identity, proof)),
    (clientId) => void persistence.delWill({ id: clientId }),
  )
  for (const owner of goneOwners) persistence.register.forgetOwner(owner)
}
