/** `busbar-cloud topics acls`: what the core must be allowed to do at Kafka, for whoever administers the brokers. */

import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { BusbarError } from '../../shared/errors.ts'
import { CHANNEL_TOPICS } from '../api/socket/channels.ts'
import { type Acl, type AclService, aclsOf, CORE_SERVICES } from '../bus/acls.ts'
import { CHAT_TOPICS, catalogue } from '../bus/catalogue.ts'

export const ACL_FORMATS = ['commands', 'table', 'json'] as const

export interface AclOptions {
  /** As Kafka names users: `User:busbar`, or `User:CN=busbar` for one with a certificate. */
  readonly principal: string
  /** Default: all but the one that makes topics. */
  readonly service?: readonly AclService[]
  readonly format: (typeof ACL_FORMATS)[number]
}

/** @throws BusbarError USAGE */
export function printAcls({ principal, service = CORE_SERVICES, format }: AclOptions, terminal: Terminal): number {
  if (!/^[A-Za-z]+:[^\p{Cc}]+$/u.test(principal)) {
    throw new BusbarError(`the principal ${JSON.stringify(principal)} is not one that Kafka knows`, {
      code: 'USAGE',
      hint: 'write it as User:busbar',
    })
  }
  const acls = aclsOf(catalogue(), [...CHANNEL_TOPICS, ...CHAT_TOPICS]).filter((acl) => service.includes(acl.service))
  if (format === 'json') terminal.out(`${JSON.stringify({ principal, acls }, null, 2)}\n`)
  else if (format === 'commands') terminal.out(commands(principal, acls))
  else writeTable(terminal, ['SERVICE', 'RESOURCE', 'NAME', 'PATTERN', 'OPERATIONS'], acls.map(row))
  return EXIT_OK
}

function row({ service, resource, name, pattern, operations }: Acl): string[] {
  return [service, resource, name, pattern, operations.join(', ')]
}

/** A shell script of as few commands as will do, since each of them takes a second or two. */
function commands(principal: string, acls: readonly Acl[]): string {
  const lines = [
    '#!/bin/sh',
    '# Run by someone who may alter ACLs, for example:',
    '#   BROKERS=kafka-1:9093 ADMIN="--command-config admin.properties" sh acls.sh',
    '# Brokers before Kafka 2.8 want one more: --operation IdempotentWrite --cluster',
    'set -eu',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's, not ours.
    ': "${BROKERS:?host:port of one or more brokers}" "${ADMIN:=}" "${KAFKA_ACLS:=kafka-acls.sh}"',
  ]
  for (const { resource, pattern, operations, names } of grouped(acls)) {
    lines.push(
      '"$KAFKA_ACLS" --bootstrap-server "$BROKERS" $ADMIN --add --force \\',
      `  --allow-principal ${quoted(principal)}${operations.map((operation) => ` --operation ${operation}`).join('')} \\`,
      `  --resource-pattern-type ${pattern}${names.map((name) => ` \\\n  --${resource} ${quoted(name)}`).join('')}`,
    )
  }
  return `${lines.join('\n')}\n`
}

interface GroupedAcl extends Pick<Acl, 'resource' | 'pattern' | 'operations'> {
  readonly names: readonly string[]
}

/** A command gives all of its operations on all of its names, so only what has the same names goes together. */
function grouped(acls: readonly Acl[]): GroupedAcl[] {
  const single = acls.flatMap((acl) => acl.operations.map((operation) => ({ ...acl, operation })))
  const byOperation = Map.groupBy(single, ({ resource, pattern, operation }) => `${resource} ${pattern} ${operation}`)
  const named = [...byOperation.values()].map((same) => ({
    ...(same[0] as (typeof single)[number]),
    names: [...new Set(same.map(({ name }) => name))],
  }))
  const byNames = Map.groupBy(named, ({ resource, pattern, names }) => [resource, pattern, ...names].join(' '))
  return [...byNames.values()].map((same) => ({
    ...(same[0] as (typeof named)[number]),
    operations: same.map(({ operation }) => operation),
  }))
}

/** As one word of the shell. */
function quoted(text: string): string {
  return /^[A-Za-z0-9._:=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
