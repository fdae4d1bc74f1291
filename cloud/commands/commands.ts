/** The command service: one command to one device, told on command.events and followed to the device's answer. */

export { type CommandPlaces, type CommandProblem, type CommandRules, checkCommand } from './command-types.ts'
