// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Test token whose `transfer` never moves anything: it returns false and does not revert, so that the transaction
/// succeeds, emits no Transfer event and pays nobody. Anybody may mint: for local test networks only.
contract FalseToken {
    string public constant name = "Bursar False Dollar";
    string public constant symbol = "BFD";
    uint8 public constant decimals = 6;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);

    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function transfer(address, uint256) external pure returns (bool) {
        return false;
    }
}
