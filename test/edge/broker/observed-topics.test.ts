import { describe, expect, test } from 'vitest'
import { filterMatches, ObservedTopics } from '../../../edge/broker/observed-topics.ts'

describe('filters', () => {
  test.each([
    ['sites/+/devices/+/telemetry', 'sites/1/devices/A/telemetry', true],
    ['sites/+/devices/+/#', 'sites/1/devices/A/telemetry', true],
    ['sites/#', 'sites/1/devices/A/telemetry', true],
    ['sites/1/devices/A/telemetry/#', 'sites/1/devices/A/telemetry', true],
    ['sites/1/devices/A/telemetry', 'sites/1/devices/A/telemetry', true],
    ['sites/+/devices/+', 'sites/1/devices/A/telemetry', false],
    ['sites/+/devices/+/+/+', 'sites/1/devices/A/telemetry', false],
    ['sites/2/#', 'sites/1/devices/A/telemetry', false],
    ['#', 'sites/1/devices/A/telemetry', true],
  ])('%s and %s: %s', (filter, topic, expected) => {
    expect(filterMatches(filter, topic)).toBe(expected)
  })
})

describe('observed topics', () => {
  const topic = 'sites/1/devices/A/telemetry'

  test('are those with at least one filter left', () => {
    const observed = new ObservedTopics()
    expect(observed.matches(topic)).toBe(false)
    observed.add('sites/+/devices/+/telemetry')
    observed.add('sites/+/devices/+/telemetry')
    observed.add(topic)
    observed.remove('sites/+/devices/+/telemetry')
    observed.remove(topic)
    expect(observed.matches(topic)).toBe(true)
    observed.remove('sites/+/devices/+/telemetry')
    expect(observed.matches(topic)).toBe(false)
  })

  test('change their version only when an answer may change', () => {
    const observed = new ObservedTopics()
    observed.add('sites/1/devices/A/commands')
    observed.add('$SYS/+/heartbeat')
    observed.remove('never added')
    expect(observed.version).toBe(0)
    observed.add(topic)
    observed.add(topic)
    expect(observed.version).toBe(1)
    observed.remove(topic)
    expect(observed.version).toBe(1)
    observed.remove(topic)
    expect(observed.version).toBe(2)
  })
})
