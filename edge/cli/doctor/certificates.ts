/** Do the certificates that the config names exist, match their keys, and last. */

import { createPrivateKey, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { readPrivate } from '../../../shared/config/private-file.ts'
import { DAY_MS } from '../../../shared/durations.ts'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import { authorityFiles } from '../../authority/authority-files.ts'
import { dataPaths, type EdgeConfig } from '../../config.ts'
import { type Finding, fail, ok, warn } from './finding.ts'

/** Days left below which renewing is due. */
const RENEW_DAYS = 30

export async function checkCertificates(config: EdgeConfig, nowMs: number): Promise<Finding[]> {
  const findings: Finding[] = []
  const { tls: mqtt } = config.mqtt
  const { tls: uplink } = config.uplink
  const { websocket } = config.mqtt
  if (mqtt.enabled || (websocket.enabled && websocket.tls)) {
    const own = mqtt.certFile !== ''
    findings.push(await (own ? checkPair('mqtt.tls', mqtt.certFile, mqtt.keyFile, nowMs) : checkSite(config, nowMs)))
  }
  if (mqtt.enabled && mqtt.caFile !== '') findings.push(await checkOne('mqtt.tls.caFile', mqtt.caFile, nowMs))
  if (config.uplink.enabled && !config.uplink.insecure) {
    if (uplink.caFile !== '') findings.push(await checkOne('uplink.tls.caFile', uplink.caFile, nowMs))
    if (uplink.certFile !== '') findings.push(await checkPair('uplink.tls', uplink.certFile, uplink.keyFile, nowMs))
  }
  return findings
}

/** Where no file is named the authority of the site makes the broker's certificate, and renews it. */
async function checkSite(config: EdgeConfig, nowMs: number): Promise<Finding> {
  const { certificate } = authorityFiles(dataPaths(config).authorityDir)
  if (existsSync(certificate)) return checkOne('the authority of the site', certificate, nowMs)
  const what = 'mqtt.tls has no certificate, and there is no authority of the site'
  return fail(
    'certificates',
    what,
    'make one with `busbar-edge ca init`, or set mqtt.tls.certFile and mqtt.tls.keyFile',
  )
}

async function checkPair(key: string, certFile: string, keyFile: string, nowMs: number): Promise<Finding> {
  const finding = await checkOne(`${key}.certFile`, certFile, nowMs)
  if (finding.outcome === 'fail') return finding
  try {
    const certificate = new X509Certificate(await readFile(certFile))
    const privateKey = createPrivateKey(readPrivate(`${key}.keyFile`, keyFile))
    if (certificate.checkPrivateKey(privateKey)) return finding
    return fail('certificates', `${keyFile} is not the key of ${certFile}`, `set ${key}.keyFile to its key`)
  } catch (error) {
    const hint = error instanceof BusbarError ? error.hint : undefined
    return fail(
      'certificates',
      `${key}.keyFile: ${messageOf(error)}`,
      hint ?? `set ${key}.keyFile to a private key in PEM`,
    )
  }
}

async function checkOne(key: string, file: string, nowMs: number): Promise<Finding> {
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(await readFile(file))
  } catch (error) {
    return fail('certificates', `${key}: ${messageOf(error)}`, `set ${key} to a certificate in PEM`)
  }
  const daysLeft = Math.floor((Date.parse(certificate.validTo) - nowMs) / DAY_MS)
  const detail = `${file} is valid until ${certificate.validTo}`
  if (daysLeft < 0) return fail('certificates', detail, 'renew it; records are kept meanwhile')
  if (Date.parse(certificate.validFrom) > nowMs) {
    return fail('certificates', `${file} is valid from ${certificate.validFrom} on`, 'check the clock')
  }
  if (daysLeft < RENEW_DAYS) return warn('certificates', detail, `renew it within ${daysLeft} days`)
  return ok('certificates', detail)
}
