import { expect, onTestFinished, test } from 'vitest'
import { startMosquitto } from '../support/mosquitto.ts'
import { MqttPeer } from '../support/mqtt-peer.ts'
import { describeWith } from '../support/real-parts.ts'
import { until } from '../support/until.ts'
import type { BehaviourOptions } from './command-behaviour.ts'
import { DeviceClient } from './device-client.ts'
import { type SimulatedDevice, simulateSubstation } from './substation.ts'

const OBEDIENT: BehaviourOptions = { seed: 1, failing: 0, rejecting: 0, slow: 0, silent: 0, answerMs: [0, 20] }

describeWith(['mosquitto'], 'a simulated device that takes commands', () => {
  async function deviceAndControl() {
    const mosquitto = await startMosquitto()
    if (mosquitto === null) throw new Error('mosquitto is gone')
    const [device] = simulateSubstation({ seed: 3, siteId: 1, inverters: 0, meters: 1 }) as [SimulatedDevice]
    const ignore = () => undefined
    const client = new DeviceClient({
      device,
      port: mosquitto.port,
      username: device.serialNumber,
      password: 'x',
      onPublished: ignore,
      onAcknowledged: ignore,
      behaviour: OBEDIENT,
    })
    const answers: unknown[] = []
    const control = new MqttPeer({
      clientId: 'control',
      port: mosquitto.port,
      subscriptions: [device.answerTopic],
      onMessage: (_topic, payload) => answers.push(JSON.parse(payload.toString())),
    })
    onTestFinished(async () => {
      await client.stop()
      await control.stop()
      await mosquitto.stop()
    })
    await Promise.all([client.start(), control.start()])
    const send = (commandId: string, name: string, params: unknown): void => {
      const command = { commandId, name, params, issuedAt: '', expiresAt: '' }
      control.publish(device.commandTopic, JSON.stringify(command), 2)
    }
    return { client, control, answers, send }
  }

  test('answers, and counts what it executed', async () => {
    const { client, answers, send } = await deviceAndControl()
    send('one', 'SET_TOU', { tou_profile_id: 'T' })
    send('two', 'REBOOT', null)
    await until(() => answers.length === 2)
    expect(client.executions).toEqual(
      new Map([
        ['one', { times: 1, status: 'SUCCESS' }],
        ['two', { times: 1, status: 'SUCCESS' }],
      ]),
    )
    expect(answers).toContainEqual({
      commandId: 'one',
      status: 'SUCCESS',
      payload: { dlmsResultCode: 0, deviceTime: expect.any(String) },
    })
  })

  test('its registers hold what it published last', async () => {
    const { client, answers, send } = await deviceAndControl()
    const noon = Date.UTC(2026, 5, 21, 12)
    await until(() => client.publishReading(noon))
    send('one', 'READ_REGISTERS', { registers: ['timestamp'] })
    await until(() => answers.length === 1)
    expect(answers[0]).toMatchObject({ payload: { registers: { timestamp: new Date(noon).toISOString() } } })
  })

  test('gets what was sent while it was away', async () => {
    const { client, answers, send } = await deviceAndControl()
    await client.stop()
    send('one', 'SYNC_TIME', null)
    await client.start()
    await until(() => answers.length === 1)
    expect(client.executions.get('one')?.times).toBe(1)
  })
})
