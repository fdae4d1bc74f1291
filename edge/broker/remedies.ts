/** What to do, by reason of a refusal that an operator can do something about. */

import type { RefusalReason } from './counters.ts'

export const REMEDIES: Partial<Record<RefusalReason, string>> = {
  'frame-too-large': 'Send smaller payloads, or raise mqtt.frameBytesMax.',
  'bad-credentials': 'Check username and secret; `busbar-edge device add` makes new ones.',
  anonymous: 'Give the client a login with `busbar-edge device add`, or a certificate with `busbar-edge ca issue`.',
  'client-id-taken': 'Give each client an id of its own; ids belong to the login that used them first.',
  'other-device': 'A device may publish below its own sites/{siteId}/devices/{serialNumber}/ only.',
  'publish-denied': 'Publish on sites/{siteId}/devices/{serialNumber}/telemetry, status or responses only.',
  'will-denied': 'A last will has to be on a topic that the client may publish on.',
  'too-many-connections': 'Raise mqtt.connectionsMax, or look for clients that reconnect without end.',
  'half-open':
    'Something opens connections and does not log in; if it is many devices at once, raise mqtt.halfOpenMax.',
  'address-connections': 'Raise mqtt.connectionsPerAddressMax if that many devices share this address.',
  'login-connections': 'Raise mqtt.connectionsPerLoginMax if that many clients share this login.',
  'connect-rate': 'Raise mqtt.connectRateMax if that many devices share this address.',
  'locked-out': 'It ends by itself, or with the next change of the logins by `busbar-edge device`.',
  'unknown-authority': 'Issue its certificate with `busbar-edge ca issue`, or name who did in mqtt.tls.caFile.',
  expired: 'Issue a new certificate with `busbar-edge ca issue`.',
  'not-yet-valid': 'Compare the clock of this gateway with the dates of the certificate.',
  'certificate-unfit': 'It needs the use clientAuth, and one name of ours: `busbar-edge ca issue` makes such.',
  'certificate-missing': 'Give it a certificate, or set mqtt.tls.clientCertificates to "optional".',
  'origin-denied': 'Name the origin of the page in mqtt.websocket.allowedOrigins.',
  'too-many-subscriptions': 'Use wildcards, or raise mqtt.subscriptionsPerClientMax.',
}
