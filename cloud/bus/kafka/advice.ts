/** What to do about a failure of Kafka, from the words that the clients have for it. */

interface Advice {
  readonly failure: RegExp
  readonly nextStep: string
}

/** The first that fits. The clients give no codes for most of these, only OpenSSL's words and their own. */
const ADVICE: readonly Advice[] = [
  {
    failure: /authoriz|not authorized/i,
    nextStep: 'Give this user what `busbar-cloud topics acls` prints, and let an administrator make the topics',
  },
  {
    // A group that one may not read has no coordinator, as far as kafkajs tells.
    failure: /group coordinator/i,
    nextStep:
      'Check that the brokers run, and that this user may READ the group: `busbar-cloud topics acls` prints what it needs',
  },
  {
    // Of a transaction; kafkajs's own words for groups are above.
    failure: /^the coordinator is not available|\(the coordinator is not available/i,
    nextStep:
      'Check that the brokers have __transaction_state: transaction.state.log.replication.factor must not be above their number',
  },
  {
    failure: /sasl|authentication|credential/i,
    nextStep: 'Check kafka.sasl: the mechanism, the username and the password that the brokers have for it',
  },
  {
    failure: /altnames|hostname|servername/i,
    nextStep: 'Check that kafka.brokers has the names that are in the certificates, or set kafka.tls.serverName',
  },
  {
    failure: /alert|certificate required/i,
    nextStep:
      'Check kafka.tls.certFile and keyFile: the brokers do not take the certificate of this client, or want one',
  },
  {
    failure: /certificate|self.signed|issuer|CERT_|CHAIN/i,
    nextStep: 'Check that kafka.tls.caFile has the authority of the brokers, and that their certificates are not over',
  },
  {
    failure: /connection closed|closed connection|tls|ssl/i,
    nextStep:
      'Check kafka.tls and kafka.sasl: a broker that hangs up at once wants TLS, a certificate of this client or a login',
  },
]

/** One sentence without its full stop. */
export function nextStepAfter(failure: string, brokers: readonly string[]): string {
  const fitting = ADVICE.find((advice) => advice.failure.test(failure))
  return fitting?.nextStep ?? `Check that ${brokers.join(', ')} run and can be reached`
}

/** Whether the brokers know us and will not have it. */
export function isDenied(failure: string): boolean {
  return ADVICE[0]?.failure.test(failure) === true
}
