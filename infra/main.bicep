// Everything Graph Relay needs in one resource group. infra/deploy.sh drives it; docs/setup.md explains it.
targetScope = 'resourceGroup'

@description('Beginning of every name: lower-case letters and digits.')
@minLength(3)
@maxLength(11)
param name string = 'graphrelay'

param location string = resourceGroup().location

@description('gateway: behind an Application Gateway with a firewall. cheap: straight to the internet, to try it out.')
@allowed(['cheap', 'gateway'])
param profile string

@description('Of the app registration, made by infra/deploy.sh: GRAPH_CLIENT_ID.')
param clientId string

@description('The declaration as JSON text: SUBSCRIPTIONS.')
param subscriptions string

@description('Where events go: DESTINATION_URL.')
param destinationUrl string

@description('Optional settings by name, to replace their defaults. None of them may be a secret.')
param settings object = {}

@description('Empty keeps the secret that the vault has.')
@secure()
param clientStateSecret string = ''

@description('Empty keeps the secret that the vault has.')
@secure()
param destinationSecret string = ''

@description('Instances that wait for Graph at all times: a cold start takes longer than its three seconds.')
@minValue(1)
param alwaysReady int = profile == 'gateway' ? 2 : 1

@allowed([2048, 4096])
param instanceMemoryMB int = 2048

@minValue(40)
@maxValue(1000)
param maximumInstances int = 40

@description('Receives alerts and budget warnings.')
param alertEmail string

@description('In the currency of the subscription, a month.')
param monthlyBudget int = profile == 'gateway' ? 500 : 100

@description('First day of the month in which the budget begins; an existing budget keeps its own.')
param budgetStart string = utcNow('yyyy-MM-01')

@description('How often storage keeps what it is given, and where. An account that exists is not moved by a deployment.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS', 'Standard_RAGRS', 'Standard_RAGZRS'])
param storageSku string = profile == 'gateway' ? 'Standard_ZRS' : 'Standard_LRS'

@description('Where docs/runbook/ of this repository can be read: alerts link there.')
param runbookUrl string = 'docs/runbook'

@description('Only with the gateway: the public name, for which the certificate was issued.')
param hostName string = ''

@description('Only with the gateway: the addresses Graph sends from, as Microsoft publishes them at present.')
param graphAddresses array = []

var suffix = uniqueString(resourceGroup().id)
var globalName = '${name}${suffix}'
var tags = { application: 'graph-relay' }
var behindGateway = profile == 'gateway'

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: { name: '${name}-app', location: location, tags: tags }
}

module telemetry 'modules/telemetry.bicep' = {
  name: 'telemetry'
  params: { name: name, location: location, tags: tags, publisherId: identity.outputs.principalId }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
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
  name: 'keys'
  params: {
    name: globalName
    location: location
    tags: union(tags, { purpose: 'relay-keys' })
    principalId: identity.outputs.principalId
    workspaceId: telemetry.outputs.workspaceId
    clientStateSecret: clientStateSecret
    destinationSecret: destinationSecret
  }
}

module network 'modules/network.bicep' = if (behindGateway) {
  name: 'network'
  params: { name: name, location: location, tags: tags }
}

module relay 'modules/function.bicep' = {
  name: 'function'
  params: {
    name: '${name}-${suffix}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    onlySubnetId: behindGateway ? network!.outputs.gatewaySubnetId : ''
    deploymentContainerUrl: storage.outputs.deploymentContainerUrl
    alwaysReady: alwaysReady
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
  }
}

module appSettings 'modules/settings.bicep' = {
  name: 'settings'
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
    overrides: settings
  }
}

module gateway 'modules/gateway.bicep' = if (behindGateway) {
  name: 'gateway'
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
  name: 'alerts'
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: telemetry.outputs.workspaceId
    email: alertEmail
    runbookUrl: runbookUrl
    profile: profile
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  params: { location: location, tags: tags, workspaceId: telemetry.outputs.workspaceId }
}

module budget 'modules/budget.bicep' = {
  name: 'budget'
  params: { name: name, amount: monthlyBudget, start: budgetStart, email: alertEmail }
}

output appName string = relay.outputs.name
output identityPrincipalId string = identity.outputs.principalId
output notificationUrl string = appSettings.outputs.notificationUrl
output gatewayAddress string = behindGateway ? gateway!.outputs.address : ''
