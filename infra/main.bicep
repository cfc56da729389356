// Everything Graph Relay needs in one resource group. infra/deploy.sh and azure.yaml drive it; docs/setup.md explains it.
import { Declaration } from 'types.bicep'

targetScope = 'resourceGroup'

@description('Beginning of every name: lower-case letters and digits.')
@minLength(3)
@maxLength(11)
param name string = 'graphrelay'

param location string = resourceGroup().location

@description('''
Who may call the app, and what it runs on. docs/setup.md compares them.
cheap: anybody. middle: the addresses of Graph. gateway: an Application Gateway with a firewall.
dedicated: the addresses of Graph, on an App Service plan instead of Flex Consumption.
''')
@allowed(['cheap', 'middle', 'gateway', 'dedicated'])
param profile string

@description('flex: Flex Consumption. dedicated: an App Service plan with Always On. The gateway goes with either.')
@allowed(['flex', 'dedicated'])
param plan string = profile == 'dedicated' ? 'dedicated' : 'flex'

@description('Of the app registration, made by infra/deploy.sh: GRAPH_CLIENT_ID.')
param clientId string

@description('The declaration: SUBSCRIPTIONS.')
param subscriptions Declaration[]

@description('Where events go: DESTINATION_URL.')
param destinationUrl string

@description('Optional settings by name, to replace their defaults. None of them may be a secret.')
param settings { *: string } = {}

@description('Instances that wait for Graph at all times: a cold start takes longer than its three seconds.')
@minValue(1)
param alwaysReady int = profile == 'gateway' ? 2 : 1

@description('Flex Consumption only. 512 MB suffice for small notifications and little of them.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('As many instances as load may start.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = plan == 'flex' ? 40 : 5

@description('App Service plan only. The B sizes do not scale by themselves.')
@allowed(['B1', 'B2', 'B3', 'P0v3', 'P1v3', 'P2v3', 'P3v3'])
param planSize string = 'P0v3'

@description('Receives alerts and budget warnings.')
param alertEmail string

@description('In the currency of the subscription, a month; 0: no budget, for offers without Cost Management.')
@minValue(0)
param monthlyBudget int = profile == 'gateway' ? 600 : (plan == 'dedicated' ? 150 : 100)

@description('First day of the month in which the budget begins; an existing budget keeps its own.')
param budgetStart string = utcNow('yyyy-MM-01')

@description('How many GB of telemetry a day are taken in at most; the rest of that day is dropped.')
@minValue(1)
param dailyLogGB int = 2

@description('How often storage keeps what it is given, and where. An account that exists is not moved by a deployment.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS', 'Standard_RAGRS', 'Standard_RAGZRS'])
param storageSku string = profile == 'gateway' ? 'Standard_ZRS' : 'Standard_LRS'

@description('Whether instances are spread over zones. Takes at least two, and a region and plan that can.')
param zoneRedundant bool = contains(storageSku, 'ZRS') && alwaysReady > 1 && !startsWith(planSize, 'B')

@description('Where docs/runbook/ of this repository can be read: alerts link there.')
param runbookUrl string = 'docs/runbook'

@description('Only with the gateway: the public name, for which the certificate was issued.')
param hostName string = ''

@description('All profiles but cheap: the addresses Graph sends from, as Microsoft publishes them at present, in CIDR form.')
param graphAddresses string[] = []

var suffix = uniqueString(resourceGroup().id)
var globalName = '${name}${suffix}'
var tags = { application: 'graph-relay' }
var behindGateway = profile == 'gateway'
var dedicated = plan == 'dedicated'

module identity 'modules/identity.bicep' = {
  params: { name: '${name}-app', location: location, tags: tags }
}

module telemetry 'modules/telemetry.bicep' = {
  params: {
    name: name
    location: location
    tags: tags
    publisherId: identity.outputs.principalId
    dailyGB: dailyLogGB
  }
}

module storage 'modules/storage.bicep' = {
  params: {
    name: globalName
    location: location
    tags: tags
    sku: storageSku
    queue: 'notifications'
    principalId: identity.outputs.principalId
  }
}

module keys 'modules/keys.bicep' = {
  params: {
    name: globalName
    location: location
    tags: union(tags, { purpose: 'relay-keys' })
    principalId: identity.outputs.principalId
    workspaceId: telemetry.outputs.workspaceId
  }
}

module network 'modules/network.bicep' = if (behindGateway) {
  params: { name: name, location: location, tags: tags }
}

// A Flex Consumption app cannot move to another plan, nor back: each plan has an app of its own.
module relay 'modules/function.bicep' = {
  params: {
    name: dedicated ? '${name}-plan-${suffix}' : '${name}-${suffix}'
    location: location
    tags: union(tags, { purpose: 'relay-app', profile: profile, 'azd-service-name': 'relay' })
    identityId: identity.outputs.id
    openToAll: profile == 'cheap'
    onlySubnetId: behindGateway ? network!.outputs.gatewaySubnetId : ''
    onlyAddresses: behindGateway ? [] : graphAddresses
    deploymentContainerUrl: storage.outputs.deploymentContainerUrl
    dedicated: dedicated
    planSize: planSize
    alwaysReady: alwaysReady
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    zoneRedundant: zoneRedundant
  }
}

module scaling 'modules/scaling.bicep' = if (dedicated && !startsWith(planSize, 'B')) {
  params: {
    location: location
    tags: tags
    planId: relay.outputs.planId
    least: alwaysReady
    most: max(alwaysReady, maximumInstances)
  }
}

module appSettings 'modules/settings.bicep' = {
  params: {
    appName: relay.outputs.name
    identityClientId: identity.outputs.clientId
    storageAccount: storage.outputs.name
    queue: storage.outputs.queue
    vaultUrl: keys.outputs.url
    insightsConnectionString: telemetry.outputs.connectionString
    clientId: clientId
    publicName: behindGateway ? hostName : relay.outputs.hostName
    subscriptions: subscriptions
    destinationUrl: destinationUrl
    planSize: dedicated ? planSize : ''
    overrides: settings
  }
}

module gateway 'modules/gateway.bicep' = if (behindGateway) {
  params: {
    name: name
    location: location
    tags: tags
    subnetId: network!.outputs.gatewaySubnetId
    hostName: hostName
    backendName: relay.outputs.hostName
    graphAddresses: graphAddresses
    certificateVaultName: '${take(name, 9)}tls${take(suffix, 12)}'
    workspaceId: telemetry.outputs.workspaceId
  }
}

module alerts 'modules/alerts.bicep' = {
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: telemetry.outputs.workspaceId
    email: alertEmail
    runbookUrl: runbookUrl
    profile: profile
    // What Graph waits for is measured where it arrives.
    frontId: behindGateway ? gateway!.outputs.id : relay.outputs.id
  }
}

module workbook 'modules/workbook.bicep' = {
  params: { location: location, tags: tags, workspaceId: telemetry.outputs.workspaceId }
}

module budget 'modules/budget.bicep' = if (monthlyBudget > 0) {
  params: { name: name, amount: monthlyBudget, start: budgetStart, email: alertEmail }
}

output appName string = relay.outputs.name
output identityPrincipalId string = identity.outputs.principalId
output notificationUrl string = appSettings.outputs.notificationUrl
output gatewayAddress string = behindGateway ? gateway!.outputs.address : ''
